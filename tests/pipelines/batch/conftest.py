"""Tiny models of each domain, made by hand, and inputs whose rows TensorFlow alone can tell."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.batch.options import Job, Machine
from tests.serving.conftest import Tiny, png

# Of the same outcome on each machine: nothing is measured, and nothing kept.
OPENING = {"executor": "openvino", "measure_seconds": 0.0, "cache": None}
MACHINE = Machine(threads=2, **OPENING)
DOMAINS = ("image", "audio", "text")
ENDINGS = {"image": "png", "audio": "wav", "text": "txt"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="session")
def models(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of `image`, `audio` and `text`."""
    root = tmp_path_factory.mktemp("models")
    for domain in DOMAINS:
        tiny.publish(root, domain)
    return root


@pytest.fixture(scope="session")
def inputs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image/, audio/ and text/ with 24 inputs each, of many sizes; 05 of each cannot be read."""
    root = tmp_path_factory.mktemp("inputs")
    for domain in DOMAINS:
        (root / domain).mkdir()
        for seed in range(24):
            item = tiny.item(domain, seed) if seed != 5 else b"\xff\xfe nothing that is known"
            data = item.encode() if isinstance(item, str) else item
            (root / domain / f"{seed:02}.{ENDINGS[domain]}").write_bytes(data)
    return root


@pytest.fixture
def job(models: Path, inputs: Path, tmp_path: Path) -> Job:
    """All pictures, in shards of 5."""
    return Job(
        "image",
        str(inputs / "image"),
        str(tmp_path / "out"),
        repository=models,
        shard_inputs=5,
        machine=MACHINE,
    )


def large_pictures(folder: Path, number: int, side: int) -> None:
    """That take a while to decode."""
    folder.mkdir(parents=True)
    for seed in range(number):
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:03}.png", compress_level=1)


@pytest.fixture(scope="session")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of `scan`: 8x8 pixels, stride 2, with the endpoints `dense` and `embed`."""
    import keras

    from pipelines.export import write_version
    from pipelines.preprocessing.image import ImagePreprocessing
    from protos.triptych.v1 import manifest_pb2

    keras.utils.set_random_seed(4)
    network = keras.Sequential(
        [
            keras.layers.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )
    root = tmp_path_factory.mktemp("scanner")
    manifest = manifest_pb2.Manifest(name="scan", labels=list("abcde"))
    golden = [png(pixels(8, 8, seed)) for seed in (0, 1)]
    asked = {"dense": True, "embed": True}
    write_version(network, ImagePreprocessing(8, 8), golden, manifest, root, asked)
    return root


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
