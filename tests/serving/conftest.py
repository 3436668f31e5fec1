"""Tiny SavedModels of each domain, made by hand: version folders as `pipelines.export` writes them.

Weights are random numbers of a seed, so that two versions of a model can be told apart. Also what
the tests of manager and watcher begin with; their fakes are in manager_fakes.py.
"""

import asyncio
import hashlib
import io
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import soundfile
import uvloop
from google.protobuf import json_format
from PIL import Image

from protos.triptych.v1 import manifest_pb2
from serving.manager import Manager
from tests.serving.manager_fakes import Announcements, Loader

SIDE, SAMPLE_RATE_HZ, BANDS, CODES = 8, 8_000, 4, 64
LABELS = {
    "image": ["red", "orange", "yellow", "green", "blue", "violet"],
    "audio": ["low", "middle", "high"],
    "text": ["good", "bad"],
}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A server's own."""
    return {"uvloop": uvloop.new_event_loop}


class Tiny:
    """Makes each SavedModel once, and copies of it."""

    labels = LABELS

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._classify: dict[tuple[str, int], Any] = {}

    def exported(self, domain: str, seed: int = 0, explain: bool = False) -> Path:
        """A version folder, to be read and not changed."""
        folder = self._folder / (f"{domain}-explain" if explain else domain) / str(seed + 1)
        if not folder.exists():
            _save(folder, domain, seed, explain)
        return folder

    def publish(
        self,
        root: Path,
        name: str,
        version: int = 1,
        *,
        domain: str = "",
        seed: int = 0,
        explain: bool = False,
        change: Callable[[Path], None] = lambda folder: None,
    ) -> Path:
        """ROOT/NAME/VERSION, which appears at once, after `change` was called with it."""
        folder = root / name / f".tmp-{version}"
        shutil.copytree(self.exported(domain or name, seed, explain), folder)
        change(folder)
        return folder.rename(root / name / str(version))

    def item(self, domain: str, seed: int = 0) -> bytes | str:
        """What a client sends. Each seed is another input, and most another size."""
        if domain == "image":
            return png(_pixels(seed, 8 + seed % 5, 9 + seed % 7))
        if domain == "audio":
            return wav(_samples(seed, 400 + 80 * (seed % 6)))
        return "".join(chr(97 + (seed * i) % 26) for i in range(1, 3 + seed % 30))

    @staticmethod
    def short_sound() -> bytes:
        """Less than a frame: the mean over frames is then no number."""
        return wav(_samples(0, 40))

    def scores(self, domain: str, item: bytes | str, seed: int = 0) -> np.ndarray:
        """As TensorFlow alone computes them, from encoded input to scores in one graph."""
        import tensorflow as tf

        key = domain, seed
        if key not in self._classify:
            self._classify[key] = tf.saved_model.load(str(self.exported(*key)))
        classify = self._classify[key].signatures["classify"]
        scores: np.ndarray = classify(inputs=tf.constant([item]))["scores"][0].numpy()
        return scores

    @staticmethod
    def spoil_golden(folder: Path) -> None:
        """One score changes, and its digest with it, so that nothing but the score tells."""
        path = folder / "assets.extra" / "golden.json"
        golden = json_format.Parse(path.read_text(), manifest_pb2.GoldenSet())
        golden.examples[0].scores[0] += 0.01
        path.write_text(json_format.MessageToJson(golden))
        Tiny.renew_digests(folder)

    @staticmethod
    def renew_digests(folder: Path) -> None:
        Tiny.rewrite_manifest(folder, lambda manifest: _list_files(manifest, folder))

    @staticmethod
    def rewrite_manifest(folder: Path, change: Callable[[manifest_pb2.Manifest], None]) -> None:
        path = folder / "assets.extra" / "manifest.json"
        manifest = json_format.Parse(path.read_text(), manifest_pb2.Manifest())
        change(manifest)
        path.write_text(json_format.MessageToJson(manifest))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("exported"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Of a server of three models, with small limits."""
    from tests.serving.server_fixtures import DOMAINS, running  # slow to import

    root = tmp_path_factory.mktemp("repository")
    for domain in DOMAINS:
        tiny.publish(root, domain)
    async with running(
        root, max_inputs_per_request=8, max_request_bytes=100_000, max_characters=1000
    ) as client:
        yield client


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def announced() -> Announcements:
    return Announcements()


@pytest.fixture
def manager(loader: Loader, announced: Announcements) -> Manager:
    return Manager(loader, on_change=announced)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty repository."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _pixels(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _samples(seed: int, n: int) -> np.ndarray:
    """Louder with each seed, as the network hears nothing else."""
    loudness = 2 ** (9 + seed % 7)
    return np.random.default_rng(seed).integers(-loudness, loudness, n, np.int16)


def _save(folder: Path, domain: str, seed: int, explain: bool = False) -> None:
    import tensorflow as tf

    module, preprocess, decode, example, spec, golden_inputs = _PARTS[domain](tf, seed)

    @tf.function(input_signature=[tf.TensorSpec([None, *example.shape], example.dtype, "examples")])
    def predict(examples: Any) -> dict[str, Any]:
        logits = module.head(module.features(module.read(examples)))
        return {"logits": logits, "scores": tf.nn.softmax(logits)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(inputs: Any) -> dict[str, Any]:
        def scores(encoded: Any) -> Any:
            return predict(preprocess(decode(encoded))["example"][None])["scores"][0]

        k = len(LABELS[domain])
        each = tf.map_fn(scores, inputs, fn_output_signature=tf.TensorSpec([k]))
        return {
            "classes": tf.broadcast_to(tf.constant(LABELS[domain]), tf.shape(each)),
            "scores": each,
        }

    signatures = {"preprocess": preprocess, "predict": predict, "classify": classify}
    signatures["serving_default"] = classify
    if explain:
        signatures |= _explaining(tf, module, example, domain)
    module.endpoints = list(signatures.values())
    tf.saved_model.save(module, str(folder), signatures=signatures)

    golden = manifest_pb2.GoldenSet()
    for item, decoded in golden_inputs:
        scores = predict(preprocess(tf.constant(decoded))["example"][None])["scores"][0]
        kind = {"text": item} if isinstance(item, str) else {"data": item}
        golden.examples.add(scores=scores.numpy().tolist(), **kind)
    extra = folder / "assets.extra"
    extra.mkdir()
    (extra / "golden.json").write_text(json_format.MessageToJson(golden))
    manifest = manifest_pb2.Manifest(
        schema_version=1,
        name=domain,
        domain=manifest_pb2.Domain.Value(f"DOMAIN_{domain.upper()}"),
        input=spec,
        labels=LABELS[domain],
    )
    _list_files(manifest, folder)
    (extra / "manifest.json").write_text(json_format.MessageToJson(manifest))


def _explaining(tf: ModuleType, module: Any, example: Any, domain: str) -> dict[str, Any]:
    """As pipelines.explain_endpoint's, written anew."""
    batch = tf.TensorSpec([None, *example.shape], example.dtype, "examples")

    @tf.function(input_signature=[batch, tf.TensorSpec([None], tf.int32, "class_ids")])
    def explain(examples: Any, class_ids: Any) -> dict[str, Any]:
        read = module.read(examples)
        with tf.GradientTape() as tape:
            tape.watch(read)
            features = module.features(read)
            logits = module.head(features)
            best = tf.argmax(logits, 1, tf.int32)
            chosen = tf.where(class_ids < 0, best, class_ids)
            logit = tf.gather(logits, chosen, batch_dims=1)
        of_features, of_input = tape.gradient(logit, [features, read])
        answer = {
            "class_ids": chosen,
            "scores": tf.nn.softmax(logits),
            "features": features,
            "feature_gradients": of_features,
            "input_gradients": tf.norm(of_input, axis=-1) if domain == "text" else of_input,
        }
        if domain == "image":
            answer["class_weights"] = tf.gather(tf.transpose(module.weights[-1]), chosen)
        return answer

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "text")])
    def tokens(text: Any) -> dict[str, Any]:
        return {"tokens": tf.strings.unicode_split(text, "UTF-8")}

    return {"explain": explain, "tokens": tokens} if domain == "text" else {"explain": explain}


def _list_files(manifest: manifest_pb2.Manifest, folder: Path) -> None:
    del manifest.files[:]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name != "manifest.json":
            manifest.files.add(
                path=path.relative_to(folder).as_posix(),
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )


Parts = tuple[Any, Any, Any, Any, manifest_pb2.InputSpec, Iterable[tuple[bytes | str, Any]]]


def _image(tf: ModuleType, seed: int) -> Parts:
    """A convolution, a mean over places, a layer."""
    module, (kernel, weights) = _module(tf, seed, (3, 3, 3, 4), (4, len(LABELS["image"])))
    module.features = lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
    module.head = lambda x: tf.reduce_mean(x, (1, 2)) @ weights

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8, "image")])
    def preprocess(image: Any) -> dict[str, Any]:
        return {"example": tf.image.resize(image, [SIDE, SIDE], antialias=True) / 127.5 - 1.0}

    def decode(data: Any) -> Any:
        return tf.io.decode_image(data, channels=3, expand_animations=False)

    example = tf.TensorSpec([SIDE, SIDE, 3], tf.float32)
    size = manifest_pb2.ImageInput(height=SIDE, width=SIDE, channels=3)
    pixels = [_pixels(seed, 12, 10) for seed in (0, 1)]
    golden = [(png(p), p) for p in pixels]
    return module, preprocess, decode, example, manifest_pb2.InputSpec(image=size), golden


def _audio(tf: ModuleType, seed: int) -> Parts:
    """Frames of 80 samples, the loudness of 4 parts of each; a mean over frames, a layer."""
    module, (weights,) = _module(tf, seed, (BANDS, len(LABELS["audio"])))
    module.features = lambda x: x * 1.0
    module.head = lambda x: tf.reduce_mean(x, 1) @ weights

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "waveform")])
    def preprocess(waveform: Any) -> dict[str, Any]:
        frames = tf.reshape(tf.signal.frame(waveform, 80, 80), [-1, BANDS, 80 // BANDS])
        return {"example": tf.reduce_mean(tf.abs(frames), 2) * 4.0}

    def decode(data: Any) -> Any:
        return tf.reduce_mean(tf.audio.decode_wav(data)[0], 1)

    example = tf.TensorSpec([None, BANDS], tf.float32)
    front_end = manifest_pb2.AudioInput(sample_rate_hz=SAMPLE_RATE_HZ, mel_bands=BANDS)
    samples = [_samples(6, 800), _samples(4, 1200)]
    golden = [(wav(s), s / np.float32(2**15)) for s in samples]
    return module, preprocess, decode, example, manifest_pb2.InputSpec(audio=front_end), golden


def _text(tf: ModuleType, seed: int) -> Parts:
    """Code points modulo 64, padded to a power of two; embeddings, a mean over them, a layer."""
    module, (embeddings, weights) = _module(tf, seed, (CODES, 8), (8, len(LABELS["text"])))
    module.read = lambda x: tf.gather(embeddings, x)
    module.features = lambda x: x * 1.0
    module.head = lambda x: tf.reduce_mean(x, 1) @ weights

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "text")])
    def preprocess(text: Any) -> dict[str, Any]:
        codes = tf.strings.unicode_decode(text, "UTF-8") % CODES
        wanted = 2 ** tf.range(3, 18)
        length = wanted[tf.searchsorted(wanted, tf.shape(codes))[0]]
        return {"example": tf.pad(codes, [[0, length - tf.size(codes)]])}

    example = tf.TensorSpec([None], tf.int32)
    sizes = manifest_pb2.TextInput(vocabulary_size=CODES, max_tokens=2**17)
    golden = [(text, text) for text in ("good", "a rather bad one, ça va")]
    spec = manifest_pb2.InputSpec(text=sizes)
    return module, preprocess, lambda data: data, example, spec, golden


_PARTS = {"image": _image, "audio": _audio, "text": _text}


def _module(tf: ModuleType, seed: int, *shapes: tuple[int, ...]) -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(seed)
    module = tf.Module()
    module.read = lambda x: x
    module.weights = [tf.Variable(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    return module, module.weights
