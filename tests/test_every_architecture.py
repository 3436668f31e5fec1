"""Each network all the way: a training step, a round trip, export, an answer.

Tiny forms of every kind of network by default; `make test-full` takes the papers' own.
A row is printed for each.
"""

import inspect
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import keras
import numpy as np
import pytest
import soundfile
from keras.ops import convert_to_numpy
from PIL import Image

import models
from models.graph import shapes_only
from models.image import inception_resnet_v2
from pipelines.export import write_version
from pipelines.preprocessing import (
    AudioPreprocessing,
    ImagePreprocessing,
    Preprocessing,
    TextPreprocessing,
)
from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc, manifest_pb2
from serving.server import Server
from serving.settings import Settings
from tests.models.text.tiny_networks import TINY as TINY_TEXT


class Tiny(NamedTuple):
    options: dict[str, Any]
    size: int  # pixels of a side
    channels: int = 3


ROW = (4, 3, 4, 2, 3, 2)  # one of GoogLeNet's table
SHALLOW = tuple(row._replace(modules=1) for row in inception_resnet_v2.ROWS)
# fmt: off
TINY = {
    "lenet5": Tiny({}, 28, 1),
    "alexnet": Tiny({"filters": (6, 8, 8, 8, 8), "units": 16}, 96),
    "zfnet": Tiny({"filters": (6, 8, 8, 8, 8), "units": 16}, 96),
    "nin": Tiny({"rows": ((5, (6, 5, 4)), (5, (6, 6, 6)), (3, (6, 6)))}, 32),
    "vgg11": Tiny({"convs": (1, 1, 1), "filters": 8, "units": 16}, 32),
    "vgg11_bn": Tiny({"convs": (1, 1, 1), "filters": 8, "units": 16, "batch_norm": True}, 32),
    "googlenet": Tiny({"stem_filters": (4, 4, 6), "rows": ((ROW,), (ROW, ROW, ROW), (ROW,))}, 64),
    "inception_v3": Tiny({"pool_filters": (32,), "inner_filters": (128,), "expanded": 1,
                          "width_multiplier": 1 / 32}, 75),
    "inception_resnet_v2": Tiny({"rows": SHALLOW, "width_multiplier": 1 / 32}, 75),
    "xception": Tiny({"stem_filters": (4, 6), "entry_filters": (6, 8, 10), "middle_blocks": 1,
                      "exit_filters": (12, 14, 16)}, 71),
    "resnet18": Tiny({"blocks": (1, 1), "filters": 4}, 32),
    "resnet50": Tiny({"blocks": (1, 2), "filters": 4}, 32),
    "resnext50_32x4d": Tiny({"blocks": (1, 1), "filters": 4, "cardinality": 2}, 32),
    "se_resnet50": Tiny({"blocks": (1, 1), "filters": 4, "reduction": 4}, 32),
    "resnet20": Tiny({"filters": 4, "blocks": 1}, 16),
    "resnet50v2": Tiny({"blocks": (1, 2), "filters": 4}, 32),
    "densenet121": Tiny({"blocks": (2, 2), "growth_rate": 4}, 32),
    "densenet_bc_100_12": Tiny({"blocks": (2, 2), "growth_rate": 4}, 16),
    "squeezenet1_0": Tiny({"stem_filters": 8, "fires": ((2, 4, 4), (2, 4, 4), (2, 6, 6)),
                           "pools": (1, 2), "bypass": "complex"}, 64),
    "mobilenet": Tiny({"rows": ((6, 1), (8, 2), (8, 1))}, 32),
    "mobilenet_v2": Tiny({"rows": ((1, 8, 1, 1), (6, 16, 2, 2))}, 32),
    "mobilenet_v3_small": Tiny({"rows": ((3, 8, 8, True, "relu", 2),
                                         (5, 32, 16, False, "hard_swish", 2),
                                         (5, 64, 16, True, "hard_swish", 1)), "units": 16}, 32),
    "shufflenet_v1": Tiny({"groups": 2, "filters": 32, "units": (2, 2)}, 48),
    "shufflenet_v2_x0_5": Tiny({"filters": (8, 16), "units": (2, 2), "last": 16}, 48),
    "separable_cnn": Tiny({"filters": 4, "blocks": 2}, 16),
    "pattern_cnn": Tiny({}, 16),
}
SOUNDS = {  # options, mel bands; frequency_cnn goes all the way in conftest.py
    "cnn_trad_fpool3": ({"rows": ((20, 8, 6, 3, 1), (10, 4, 6, 1, 1)), "units": (8,)}, 40),
    "ds_cnn_s": ({"filters": 6, "strides": ((2, 1), (2, 2), (1, 1))}, 10),
    "tc_resnet8": ({"filters": (4, 6, 8)}, 12),
    "bc_resnet1": ({"width_multiplier": 0.5,
                    "rows": ((1, 1.5, 2, 2), (2, 2, 2, 4))}, 40),
    "cnn14": ({"filters": (4, 4, 6, 6, 6, 8), "units": 8}, 32),
}
# fmt: on
RATE_HZ = 8000
TEXTS = [
    "What is the capital of Peru ?",
    "Who wrote Hamlet, and who didn't ?",
]  # of one bucket from 64 up
ROW = "{:<20} {:>11} {:>12} {:>12} {:>15} {:>9} {:>6}"


@pytest.fixture(scope="module")
def tell(request) -> Callable[[str], None]:
    """Writes a row where the tests' dots are."""
    plugin = request.config.pluginmanager.getplugin

    def write(row: str) -> None:
        with plugin("capturemanager").global_and_fixture_disabled():
            plugin("terminalreporter").write_line(row)

    write("\n" + ROW.format("network", "input", "total", "trainable", "loss", "OpenVINO", "s"))
    return write


@pytest.fixture(autouse=True)
def freed() -> Iterator[None]:
    """Keras keeps graphs, and with them the weights of each VGG, until told otherwise."""
    yield
    keras.utils.clear_session()


def pictures(size: int, count: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((size + 3, size), Image.Resampling.BICUBIC).save(file, "PNG")
        files.append(file.getvalue())
    return files


def sounds(*seconds: float) -> list[bytes]:
    """Two tones each, that rise and fall."""
    files = []
    for number, length in enumerate(seconds):
        time_ = np.arange(round(length * RATE_HZ)) / RATE_HZ
        glide = np.sin(2 * np.pi * (300 + 500 * number + 900 * time_) * time_)
        file = io.BytesIO()
        soundfile.write(file, 0.4 * glide * np.sin(9 * time_), RATE_HZ, format="WAV")
        files.append(file.getvalue())
    return files


def text_inputs(name: str, **changes) -> TextPreprocessing:
    """What the network's paper feeds it, or words."""
    return TextPreprocessing(**{**models.ARCHITECTURES[name].inputs, **changes}).fit(TEXTS)


def step(network: keras.Model, examples: np.ndarray) -> tuple[float, float]:
    """The loss on a batch before and after one step on it."""
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # or the two losses would be of two networks
    network.compile(
        # A short step downhill: no network's gradient is too steep for it.
        keras.optimizers.SGD(1e-4, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    class_ids = np.arange(len(examples)) % 3
    before, after = (network.train_on_batch(examples, class_ids) for _ in range(2))
    return float(before), float(after)


def round_trip(network: keras.Model, examples: np.ndarray, folder: Path) -> None:
    network.save(folder / "network.keras")
    again = keras.saving.load_model(folder / "network.keras", compile=False)
    before, after = (json.dumps(n.get_config(), default=str) for n in (network, again))
    assert before == after  # tuples have become lists
    logits = [convert_to_numpy(n(examples, training=False)) for n in (network, again)]
    np.testing.assert_allclose(*logits, atol=1e-6)


async def serve(repository: Path, items: Sequence[bytes | str]) -> np.ndarray:
    """[B, K] scores of a server that computes by OpenVINO."""
    server = Server(
        Settings(
            repository=repository,
            grpc_port=0,
            http_port=0,
            executor="openvino",
            measure_seconds=0,
            cache=None,
        )
    )
    try:
        ready = await server.start()
        async with grpc.aio.insecure_channel(f"localhost:{ready.grpc_port}") as channel:
            request = classifier_pb2.ClassifyRequest(model="network", top_k=1000)
            for item in items:
                request.inputs.add(**({"text": item} if isinstance(item, str) else {"data": item}))
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            response = await stub.Classify(request, timeout=60)
    finally:
        await server.stop()
    ranked = [sorted((x.class_id, x.score) for x in r.labels) for r in response.results]
    return np.array([[score for _, score in labels] for labels in ranked])


async def journey(
    name: str,
    options: dict,
    inputs: Preprocessing,
    items: list[bytes] | list[str],
    classes: int,
    tmp_path: Path,
) -> str:
    """With the first two of the items, which give examples of one shape; all of them prove it."""
    started = time.monotonic()
    keras.utils.set_random_seed(0)
    network = models.create_model(name, classes, **options)
    folder = tmp_path / "repository"
    examples = np.stack(
        [
            np.asarray(inputs.preprocess(inputs.decode(keras.ops.convert_to_tensor(item))))
            for item in items[:2]
        ]
    )
    assert network(examples).shape == (2, classes)
    before, after = step(network, examples)
    assert after < before
    round_trip(network, examples, tmp_path)

    labels = [str(k) for k in range(classes)]
    manifest = manifest_pb2.Manifest(name="network", labels=labels)
    write_version(network, inputs, items, manifest, folder)  # proves TensorFlow, OpenVINO
    wanted = convert_to_numpy(keras.ops.softmax(network(examples, training=False)))
    apart = np.abs(await serve(folder, items[:2]) - wanted).max()
    assert apart < 1e-4

    seconds = time.monotonic() - started
    total, trainable = (
        f"{sum(int(np.prod(v.shape)) for v in variables):,}"
        for variables in (network.weights, network.trainable_weights)
    )
    loss = f"{before:.4f}>{after:.4f}"
    size = "x".join(map(str, examples.shape[1:]))
    return ROW.format(name, size, total, trainable, loss, f"{apart:.0e}", f"{seconds:.1f}")


@pytest.mark.parametrize("name", TINY)
async def test_tiny(name: str, tell, tmp_path) -> None:
    tiny = TINY[name]
    inputs = ImagePreprocessing(tiny.size, tiny.size, tiny.channels)
    tell(await journey(name, tiny.options, inputs, pictures(tiny.size, 2), 3, tmp_path))


@pytest.mark.parametrize("name", SOUNDS)
async def test_tiny_sound(name: str, tell, tmp_path) -> None:
    """Longer than what any of the networks looks at, and shorter."""
    options, bands = SOUNDS[name]
    inputs = AudioPreprocessing({"sample_rate_hz": RATE_HZ, "mel_bands": bands})
    tell(await journey(name, options, inputs, sounds(0.5, 0.5, 0.1), 3, tmp_path))


@pytest.mark.parametrize("name", TINY_TEXT)
async def test_tiny_text(name: str, tell, tmp_path) -> None:
    options = TINY_TEXT[name]
    sizes = {"max_tokens": 64, "shortest": 64} if "length" not in options else {}
    inputs = text_inputs(name, **sizes)
    options = {**options, "vocabulary_size": inputs.vocabulary_size}
    tell(await journey(name, options, inputs, TEXTS, 3, tmp_path))


def zeros(name: str) -> np.ndarray:
    if name in TINY_TEXT:
        return np.zeros((2, 8), np.int32)
    if name in SOUNDS:
        _, bands = SOUNDS[name]
        return np.zeros((2, 40, bands), np.float32)
    tiny = TINY[name]
    return np.zeros((2, tiny.size, tiny.size, tiny.channels), np.float32)


def options_of(name: str) -> dict:
    if name in TINY_TEXT:
        return {"vocabulary_size": 72, **TINY_TEXT[name]}
    return SOUNDS[name][0] if name in SOUNDS else TINY[name].options


@pytest.mark.parametrize("name", [*TINY, *SOUNDS, *TINY_TEXT])
def test_any_class_count_in_half_precision(name: str) -> None:
    examples, options = zeros(name), options_of(name)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = models.create_model(name, 1, **options)
        logits = keras.ops.cast(network(examples), "float32")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.shape == (2, 1)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", TINY)
def test_what_comes_without_the_top(name: str) -> None:
    tiny = TINY[name]
    shape = (1, tiny.size, tiny.size, tiny.channels)
    takes = inspect.signature(models.ARCHITECTURES[name].network).parameters
    for pooling, rank in (("avg", 2), ("max", 2), (None, 4)):
        if "pooling" not in takes:
            continue  # LeNet-5
        options = {**tiny.options, "include_top": False, "pooling": pooling}
        output = models.create_model(name, 3, **options).call(keras.KerasTensor(shape))
        assert len(output.shape) == rank


def shallowest_first() -> Iterator:
    """Those that differ from one before in how many blocks a stage has, and so not in what strides,
    are left to `make test-full`."""
    seen = []
    by_size = sorted(models.list_models("image"), key=lambda name: (len(name), name))
    for name in by_size:
        architecture = models.ARCHITECTURES[name]
        options = {k: v for k, v in architecture.options.items() if k not in ("blocks", "convs")}
        kind = architecture.network, architecture.input_shape, options
        yield pytest.param(name, marks=pytest.mark.full if kind in seen else ())
        seen.append(kind)


@pytest.mark.parametrize("name", list(shallowest_first()))
def test_the_form_for_small_images_keeps_places_to_look_at(name: str) -> None:
    takes = inspect.signature(models.ARCHITECTURES[name].network).parameters
    if "small_images" not in takes:
        assert models.ARCHITECTURES[name].input_shape[0] == 32
        return
    with shapes_only():
        small = models.create_model(name, 10, small_images=True, include_top=False, pooling=None)
        features = small.call(keras.KerasTensor((1, 32, 32, 3)))
    assert features.shape[1] >= (1 if name.startswith("vgg") else 2)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", models.list_models("image"))
async def test_full(name: str, tell, tmp_path) -> None:
    shape = models.ARCHITECTURES[name].input_shape
    classes = 1000 if shape[0] > 64 else 10
    items = pictures(max(shape[:2]), 2)
    tell(await journey(name, {}, ImagePreprocessing(*shape), items, classes, tmp_path))


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", models.list_models("text"))
async def test_full_text(name: str, tell, tmp_path) -> None:
    # In words or letters, the two are of two buckets by themselves.
    sizes = {} if "shortest" in models.ARCHITECTURES[name].inputs else {"shortest": 64}
    inputs = text_inputs(name, **sizes)
    options = {"vocabulary_size": inputs.vocabulary_size}
    if name == "vdcnn_49":
        # Without, it is so steep that `step` goes too far: its loss falls at 1e-6, not at 1e-4.
        options["shortcut"] = True
    tell(await journey(name, options, inputs, TEXTS, 4, tmp_path))


def test_no_kind_of_network_is_left_out() -> None:
    own = (("image", TINY), ("audio", [*SOUNDS, "frequency_cnn"]), ("text", TINY_TEXT))
    for domain, tiny in own:
        kinds = {models.ARCHITECTURES[name].network for name in models.list_models(domain)}
        assert kinds == {models.ARCHITECTURES[name].network for name in tiny}
