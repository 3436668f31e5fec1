"""The optional endpoint: gradients that are known by other means."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from typer.testing import CliRunner

from pipelines import export as exporting
from pipelines.artefact import Artefact
from pipelines.explain.network import open_network
from pipelines.export import ExportError, export
from pipelines.preprocessing.image import ImagePreprocessing
from pipelines.preprocessing.text import TextPreprocessing
from serving.runtime.explanation import explain
from serving.runtime.servable import Servable
from triptych.main import app

CLASSES = 3


def endpoints(network: keras.Model, inputs: object, folder: Path) -> dict:
    labels = [str(number) for number in range(CLASSES)]
    Artefact(network, inputs, labels, explain=True).save(folder)
    return tf.saved_model.load(str(folder)).signatures


@pytest.fixture(scope="module")
def averaged() -> keras.Model:
    """A convolution, a rectifier, an average, a fully connected layer."""
    keras.utils.set_random_seed(2)
    parts = [layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    return keras.Sequential([layers.Input((6, 5, 3)), *parts, layers.Dense(CLASSES)])


def test_gradients_of_pictures(averaged, tmp_path) -> None:
    explain = endpoints(averaged, ImagePreprocessing(6, 5), tmp_path)["explain"]
    pictures = np.random.default_rng(0).normal(size=(3, 6, 5, 3)).astype(np.float32)
    class_ids = [2, 0, -1]
    given = {"examples": tf.constant(pictures), "class_ids": tf.constant(class_ids)}
    answer = {name: value.numpy() for name, value in explain(**given).items()}
    logits = averaged(pictures).numpy()
    chosen = [2, 0, logits[2].argmax()]
    assert answer["class_ids"].tolist() == chosen
    np.testing.assert_allclose(answer["scores"], keras.ops.softmax(logits), atol=1e-6)
    np.testing.assert_allclose(answer["features"], averaged.layers[0](pictures), atol=1e-6)
    weights = averaged.layers[-1].kernel.numpy()[:, chosen].T  # [B, C]
    np.testing.assert_allclose(answer["class_weights"], weights, atol=1e-7)
    each = np.broadcast_to(weights[:, None, None] / 12, answer["features"].shape)  # 4 x 3 places
    np.testing.assert_allclose(answer["feature_gradients"], each, atol=1e-7)

    def logit(x: np.ndarray) -> np.ndarray:
        return averaged(x).numpy()[range(3), chosen]

    step = 1e-2
    for place in np.ndindex(6, 5, 3):
        shift = np.zeros((6, 5, 3), np.float32)
        shift[place] = step
        slope = (logit(pictures + shift) - logit(pictures - shift)) / (2 * step)
        # Where a rectifier's corner is passed, the slope is a mixture of both sides'.
        found = answer["input_gradients"][(slice(None), *place)]
        np.testing.assert_allclose(found, slope, atol=0.02)


def test_a_texts_gradients_are_those_of_its_tokens_vectors(tmp_path) -> None:
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [
            layers.Input((None,), dtype="int32"),
            layers.Embedding(9, 5),
            layers.Conv1D(4, 1),
            layers.GlobalAveragePooling1D(),
            layers.Dense(CLASSES),
        ]
    )
    inputs = TextPreprocessing(["a", "b", "c"], backwards=True, max_tokens=8)
    found = endpoints(network, inputs, tmp_path)
    codes = tf.constant([[2, 3, 4, 0, 0, 0, 0, 0]])
    answer = found["explain"](examples=codes, class_ids=tf.constant([1]))
    (kernel,), head = network.layers[1].kernel.numpy(), network.layers[-1].kernel.numpy()
    norm = np.linalg.norm(kernel @ head[:, 1]) / 8  # of one position in the average of eight
    np.testing.assert_allclose(answer["input_gradients"], np.full((1, 8), norm), rtol=1e-5)
    tokens = found["tokens"](text=tf.constant("A unknown, c"))["tokens"].numpy().tolist()
    assert tokens == [b"c", b",", b"unknown", b"a"]  # in the order of the example's positions


def test_export_adds_it_if_asked(runs, tmp_path) -> None:
    arguments = ["export", runs["text"], "--repository", tmp_path, "--name", "told", "--explain"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    plain = export(runs["text"], tmp_path, "plain")
    names = {f: set(tf.saved_model.load(str(f)).signatures) for f in (plain, tmp_path / "told/1")}
    assert names[tmp_path / "told/1"] - names[plain] == {"explain", "tokens"}

    def weights(folder: Path) -> int:
        return (folder / "variables" / "variables.data-00000-of-00001").stat().st_size

    assert weights(tmp_path / "told/1") == pytest.approx(weights(plain), abs=1000)


def test_export_proves_it(runs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(exporting, "EXPLAIN_TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="not Keras's"):
        export(runs["text"], tmp_path, "m", explain=True)
    assert not list((tmp_path / "m").iterdir())


def test_what_has_no_positions_has_no_such_endpoint() -> None:
    flat = keras.Sequential([layers.Input((6, 5, 3)), layers.Flatten(), layers.Dense(CLASSES)])
    with pytest.raises(ValueError, match="no layer of the network has positions"):
        Artefact(flat, ImagePreprocessing(6, 5), ["a", "b", "c"], explain=True)


@pytest.mark.parametrize("domain", ["image", "audio", "text"])
def test_a_version_is_exported_again_with_it(domain, repository, inputs, tmp_path) -> None:
    version = repository / f"tiny-{domain}" / "1"
    arguments = ["export", version, "--repository", tmp_path, "--explain"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    again = Servable.load(tmp_path / f"tiny-{domain}" / "1", "tensorflow")
    before = Servable.load(version, "tensorflow")
    assert list(again.labels) == list(before.labels)
    for item in inputs[domain]:
        example = before.preprocess(before.decode(item))
        np.testing.assert_array_equal(again.preprocess(again.decode(item)), example)
        wanted = before.predict(example[np.newaxis]).scores[0]
        found = explain(again, item, "grad-cam", -1)
        assert found.class_id == wanted.argmax()
        assert found.score == pytest.approx(wanted.max(), abs=1e-5)
    again.close()
    before.close()
    open_network(tmp_path / f"tiny-{domain}" / "1")  # and can be exported once more
