"""A network opened for looking into: it is the version's own, and its layers have names."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf

from pipelines.explain import METHODS
from pipelines.explain.errors import ExplainError
from pipelines.explain.network import Network, open_network
from serving.runtime.servable import Servable
from tests.pipelines.explain.conftest import MODELS, SHIPPED

Opened = Callable[[str], tuple]


@pytest.mark.parametrize("domain", MODELS)
def test_a_versions_network_is_its_saved_model(domain: str, opened: Opened) -> None:
    network, items, *_ = opened(domain)
    servable = Servable.load(SHIPPED / MODELS[domain] / "1", "tensorflow")
    for item in items:
        example = servable.preprocess(servable.decode(item))
        np.testing.assert_array_equal(network.example(item), example)
        logits = network.model(example[None], training=False)
        np.testing.assert_allclose(logits, servable.predict(example[None]).logits, atol=1e-4)
    servable.close()


@pytest.mark.parametrize("domain", MODELS)
def test_a_run_and_its_version_are_the_same(
    domain: str,
    runs: dict[str, Path],
    repository: Path,
    inputs: dict[str, list[bytes | str]],
) -> None:
    of_run, of_version = open_network(runs[domain]), open_network(f"tiny-{domain}", repository)
    assert list(of_run.layers) == list(of_version.layers)
    assert of_run.labels == of_version.labels
    for item in inputs[domain]:
        example = of_run.example(item)
        np.testing.assert_array_equal(example, of_version.example(item))
        np.testing.assert_allclose(
            of_run.scores(example[None]), of_version.scores(example[None]), atol=1e-5
        )


def test_a_version_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path) -> None:
    version = tmp_path / "questions" / "1"
    shutil.copytree(SHIPPED / "questions" / "1", version)
    manifest = version / "assets.extra" / "manifest.json"
    named = manifest.read_text()

    manifest.write_text(named.replace('"kim_cnn"', '"tcn"'))
    with pytest.raises(ExplainError, match="variables are not those of its architecture"):
        open_network(version)

    golden = version / "assets.extra" / "golden.json"
    content = json.loads(golden.read_text())
    content["examples"][0]["scores"][0] += 0.01
    golden.write_text(json.dumps(content))
    forged = json.loads(named)
    for file in forged["files"]:
        if file["path"] == "assets.extra/golden.json":
            file["sha256"] = hashlib.sha256(golden.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(forged))
    with pytest.raises(
        ExplainError, match=r"not what was exported: a golden score differs by 0\.01"
    ):
        open_network(version)


@pytest.mark.parametrize(
    ("domain", "names", "last"),
    [
        ("image", ("stem.conv", "stages.0.conv1.norm", "stages.8", "head.dense"), ("stages.8",)),
        ("audio", ("stages.0.conv", "stages.0", "collapse", "head"), ("stages.2",)),
        (
            "text",
            ("embeddings.0", "convs.2", "head"),
            (
                "convs.0.multiply",
                "convs.1.multiply",
                "convs.2.multiply",
            ),  # by where there are words
        ),
    ],
)
def test_layers_have_names(
    domain: str, names: tuple[str, ...], last: tuple[str, ...], opened: Opened
) -> None:
    network = opened(domain).network
    order = list(network.layers)
    assert [order.index(name) for name in names] == sorted(order.index(name) for name in names)
    assert network.last_maps == last
    assert network.last_conv == last[-1]


def test_what_no_layer_gave_is_named_after_the_one_before() -> None:
    inputs = keras.Input((6, 5, 3))
    stem = keras.layers.Conv2D(4, 3)
    x = keras.ops.relu(stem(inputs))
    masked = keras.ops.not_equal(keras.ops.sum(x, axis=-1, keepdims=True), 0.0)
    masked = keras.ops.cast(masked, "float32") * x
    pooled = keras.layers.GlobalAveragePooling2D()(masked)
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    model.stem = stem  # by which it has a name
    network = Network(model, ["a", "b"], (6, 5, 3))
    assert network.last_maps == ("stem.relu.multiply",)
    example = np.random.default_rng(0).normal(size=(1, 6, 5, 3)).astype(np.float32)
    maps, _ = network.features("stem.relu.multiply")(example)
    np.testing.assert_allclose(maps, np.maximum(stem(example), 0))
    assert METHODS["cam"](network, example[0], 1).layer == "stem.relu.multiply"


def test_features_are_what_the_layers_give(opened: Opened) -> None:
    network, _, example, _ = opened("image")
    maps, logits = network.features("stages.8")(example[None])
    np.testing.assert_allclose(
        np.mean(maps, axis=(1, 2)) @ network.model.layers[-1].kernel
        + network.model.layers[-1].bias,
        logits,
        atol=1e-4,
    )


@pytest.mark.parametrize("domain", MODELS)
def test_logits_can_be_differentiated_by_what_is_embedded(domain: str, opened: Opened) -> None:
    network, _, example, class_id = opened(domain)
    examples = example[None]
    x = network.embed(examples)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = network.logits(x, examples)
        logit = logits[:, class_id]
    np.testing.assert_allclose(logits, network.model(examples), atol=1e-5)
    assert np.abs(tape.gradient(logit, x)).max() > 0


def test_an_unknown_layer_or_class_is_answered_with_those_that_there_are(opened: Opened) -> None:
    network = opened("text").network
    with pytest.raises(ExplainError, match=r"no layer 'conv'; it has embeddings\.0, .*convs\.2"):
        network.features("conv")
    with pytest.raises(ExplainError, match="no class 'who'; it has abbreviation, description"):
        network.class_id("who")
    with pytest.raises(ExplainError, match="no model nowhere"):
        open_network("nowhere", SHIPPED)


def test_a_picture_is_what_it_was(opened: Opened) -> None:
    network = opened("image").network
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(network.inputs.picture(network.inputs.preprocess(pixels)), pixels)
    np.testing.assert_allclose(
        network.inputs.from_pixels(pixels.astype(float)),
        network.inputs.preprocess(pixels),
        atol=1e-5,
    )


@pytest.mark.parametrize(("channels", "order"), [(3, "bgr"), (1, "rgb")])
def test_a_picture_is_what_it_was_whatever_the_channels(channels: int, order: str) -> None:
    from pipelines.explain.inputs import Inputs
    from pipelines.preprocessing import ImagePreprocessing

    mean, deviation = (0.1, 0.5, 0.7), (0.2, 0.3, 0.6)
    inputs = Inputs.of(ImagePreprocessing(9, 9, channels, mean, deviation, order))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    if channels == 1:
        pixels = np.repeat(pixels[..., :1], 3, axis=-1)
    example = inputs.preprocess(pixels)
    np.testing.assert_array_equal(inputs.picture(example), pixels)
    np.testing.assert_allclose(
        inputs.from_pixels(pixels[..., :channels].astype(float)), example, atol=1e-5
    )


def test_bands_are_heard_where_librosa_puts_them(opened: Opened) -> None:
    inputs = opened("audio").network.inputs
    assert inputs.frame_seconds == pytest.approx(0.010)
    centres = librosa.mel_frequencies(42, fmin=20, fmax=4000)[1:-1]
    assert np.abs(inputs.frequencies_hz - centres).max() < 60


def test_tokens_stand_where_their_numbers_do(opened: Opened) -> None:
    network = opened("text").network
    text = "Who wrote the Frobnicator?"
    example = network.example(text)
    tokens = network.inputs.tokens(text, example)
    assert tokens == ["who", "wrote", "the", "frobnicator", "?"]
    known = [network.inputs.vocabulary[n] for n in example[: len(tokens)]]
    assert known == ["who", "wrote", "the", "", "?"]


def test_a_network_without_inputs_says_so() -> None:
    x = keras.Input((4, 4, 1))
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    network = Network(model, ["a", "b"], (4, 4, 1))
    with pytest.raises(ExplainError, match="without what makes its examples"):
        network.example(b"")
    with pytest.raises(ExplainError, match="no layer of the network has positions: name one"):
        network.last_conv  # noqa: B018
