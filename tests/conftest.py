"""One tiny model of each domain, really trained and exported, once however many test at a time."""

import fcntl
import gc
import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipelines  # noqa: F401  # before TensorFlow is imported: it says how that computes


def pytest_collection_finish() -> None:
    """What is imported by now stays: no sweep for garbage walks through all of TensorFlow again."""
    gc.collect()
    gc.freeze()


COLOURS = {"blue": (30, 60, 220), "green": (40, 200, 60), "red": (220, 40, 40)}
TONES_HZ = {"high": 2400.0, "low": 300.0, "middle": 900.0}
SENTENCES = {
    "animal": ["the cat sleeps", "a dog barks at the cat", "my horse runs", "a small dog sleeps"],
    "food": ["we eat fresh bread", "a soup with bread", "sweet apples", "eat the apples and soup"],
    "weather": ["rain falls today", "cold wind and rain", "the sun shines", "wind from the north"],
}


def picture(colour: str, seed: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, 25, (*size, 3))
    return Image.fromarray(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8))


def tone(name: str, seed: int, seconds: float = 0.4, rate: int = 16000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    wave_ = 0.5 * np.sin(2 * np.pi * TONES_HZ[name] * time + rng.uniform(0, 6))
    return np.clip(wave_ + rng.normal(0, 0.02, len(time)), -1, 1)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that the first process of the session which asks makes; no test writes into it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / f"{name}.made").exists():
            make(root / name)
            (root / f"{name}.made").touch()
    return root / name


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/CLASS/*.png, sounds/CLASS/*.wav, texts.csv: a person's own data, in small."""
    return made_once(tmp_path_factory, "data", write_data)


def write_data(root: Path) -> None:
    for colour in COLOURS:
        (root / "images" / colour).mkdir(parents=True)
        for i in range(20):
            picture(colour, i).save(root / "images" / colour / f"{i:02}.png")
    for name in TONES_HZ:
        (root / "sounds" / name).mkdir(parents=True)
        for i in range(20):
            samples = tone(name, i, seconds=0.2 + 0.02 * i)
            write_wav(root / "sounds" / name / f"{i:02}.wav", samples)
    rows = ["label,text"]
    rows += [
        f'{label},"{text} {i}"'
        for label, texts in SENTENCES.items()
        for text in texts
        for i in range(5)
    ]
    (root / "texts.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each domain."""
    from pipelines.run import TrainConfig
    from pipelines.train import train

    tiny = {
        "image": ("resnet20", "images", {"filters": 4, "blocks": 1}, 0.05),
        "audio": ("frequency_cnn", "sounds", {"filters": 4}, 0.01),
        "text": ("kim_cnn", "texts.csv", {"embedding_dim": 16, "filters": 16}, 0.02),
    }

    def train_each(out: Path) -> None:
        for domain, (model, source, options, rate) in tiny.items():
            train(
                TrainConfig(
                    model,
                    str(data / source),
                    out / f"tiny-{domain}",
                    epochs=10,
                    batch_size=8,
                    learning_rate=rate,
                    image_size=16 if domain == "image" else None,
                    options=options,
                )
            )

    out = made_once(tmp_path_factory, "runs", train_each)
    return {domain: out / f"tiny-{domain}" for domain in tiny}


@pytest.fixture(scope="session")
def repository(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with tiny-image, tiny-audio and tiny-text, version 1 of each."""
    from pipelines.export import export

    def export_each(root: Path) -> None:
        for run in runs.values():
            export(run, root)

    return made_once(tmp_path_factory, "repository", export_each)


@pytest.fixture(scope="session")
def inputs(data: Path) -> dict[str, list[bytes | str]]:
    """A few inputs of each domain, of different sizes and lengths."""
    return {
        "image": [(data / "images" / colour / "03.png").read_bytes() for colour in COLOURS],
        "audio": [
            (data / "sounds" / name / f"{i:02}.wav").read_bytes() for i, name in enumerate(TONES_HZ)
        ],
        "text": [
            "the cat sleeps",
            "rain falls today, wind from the north, cold wind and rain",
            "bread",
        ],
    }


Domain = str
Loader = Callable[[Domain, str], object]


@pytest.fixture(scope="session")
def servables(repository: Path) -> Loader:
    """Loaded servables, by domain and executor, each loaded once."""
    from serving.runtime.servable import Servable

    loaded: dict[tuple[str, str], Servable] = {}

    def load(domain: str, executor: str = "tensorflow") -> Servable:
        key = domain, executor
        if key not in loaded:
            loaded[key] = Servable.load(repository / f"tiny-{domain}" / "1", executor)
        return loaded[key]

    return load
