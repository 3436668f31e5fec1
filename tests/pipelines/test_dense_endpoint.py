"""The optional endpoint: a larger input's windows, each with its score and its place."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

import models
from pipelines.artefact import Artefact
from pipelines.export import ExportError, export
from pipelines.preprocessing.audio import AudioPreprocessing
from pipelines.preprocessing.image import ImagePreprocessing
from triptych.main import app


@pytest.fixture(scope="module")
def version(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network of 16x16 pixels and stride 4, exported and so proved in each executor."""
    repository = tmp_path_factory.mktemp("dense")
    command = ["export", runs["image"], "--repository", repository, "--name", "scan", "--dense"]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 0, result.output
    return repository / "scan" / "1"


@pytest.fixture(scope="module")
def valid_network() -> keras.Model:
    """8x8 pixels, stride 2, and no padding."""
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )


def test_it_is_there_if_asked_for_and_saves_no_weights_anew(version, runs) -> None:
    plain = export(runs["image"], version.parent.parent, "plain")

    def size(folder):
        return (folder / "variables" / "variables.data-00000-of-00001").stat().st_size

    assert "dense" in tf.saved_model.load(str(version)).signatures
    assert "dense" not in tf.saved_model.load(str(plain)).signatures
    assert size(version) == pytest.approx(size(plain), rel=0.01)


def test_each_score_is_that_of_its_box(valid_network, tmp_path) -> None:
    Artefact(valid_network, ImagePreprocessing(8, 8), list("abcde"), dense=True).save(tmp_path)
    endpoints = tf.saved_model.load(str(tmp_path)).signatures
    images = np.random.default_rng(0).normal(size=(2, 13, 10, 3)).astype(np.float32)
    answer = endpoints["dense"](images=tf.constant(images))
    boxes = answer["boxes"].numpy()
    assert boxes[:, 0, :2].tolist() == [[0, 0], [2, 0], [4, 0]]
    assert boxes[0].tolist() == [[0, 0, 8, 8], [0, 2, 8, 10]]
    assert answer["scores"].shape == (2, 3, 2, 5)
    for i, j in np.ndindex(3, 2):
        y0, x0, y1, x1 = boxes[i, j]
        crops = tf.constant(images[:, y0:y1, x0:x1])
        np.testing.assert_allclose(
            answer["scores"][:, i, j], endpoints["predict"](examples=crops)["scores"], atol=1e-5
        )


def test_a_picture_of_the_networks_own_size_has_one_score(version) -> None:
    endpoints = tf.saved_model.load(str(version)).signatures
    picture = tf.random.stateless_normal([2, 16, 16, 3], seed=[1, 2])
    answer = endpoints["dense"](images=picture)
    assert answer["boxes"].numpy().tolist() == [[[0, 0, 16, 16]]]
    alone = endpoints["predict"](examples=picture)["scores"]
    np.testing.assert_allclose(answer["scores"][:, 0, 0], alone, atol=1e-5)


def test_a_window_that_hangs_over_the_edge_ends_there(version) -> None:
    endpoints = tf.saved_model.load(str(version)).signatures
    boxes = endpoints["dense"](images=tf.zeros([1, 18, 32, 3]))["boxes"].numpy()
    assert boxes.shape == (2, 5, 4)
    assert boxes[1, 4].tolist() == [4, 16, 18, 32]


def test_too_small_a_picture_is_refused(version) -> None:
    dense = tf.saved_model.load(str(version)).signatures["dense"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 16 high and 16 wide"):
        dense(images=tf.zeros([1, 16, 15, 3]))


def test_what_has_no_dense_endpoint_is_not_exported(runs, tmp_path) -> None:
    with pytest.raises(ExportError, match="images and sounds alone"):
        export(runs["text"], tmp_path, "m", dense=True)
    assert not list((tmp_path / "m").iterdir())


def test_each_window_of_a_sound_has_its_scores_and_its_time(tmp_path) -> None:
    network = models.create_model("tc_resnet8", 3, filters=(4, 6))
    inputs = AudioPreprocessing({"sample_rate_hz": 8000, "mel_bands": 12})  # a frame each 10 ms
    clips = np.random.default_rng(0).normal(size=(2, 47, 12)).astype(np.float32)
    network(clips)
    Artefact(network, inputs, list("abc"), dense=True).save(tmp_path)
    dense = tf.saved_model.load(str(tmp_path)).signatures["dense"]

    def windows(clips: np.ndarray, window: float, hop: float) -> dict[str, tf.Tensor]:
        return dense(
            examples=tf.constant(clips),
            window_seconds=tf.constant(window),
            hop_seconds=tf.constant(hop),
        )

    answer = windows(clips, 0.2, 0.1)
    starts = [0, 10, 20, 27]  # the last one ends with the clip
    wanted = [[start / 100, start / 100 + 0.2] for start in starts]
    np.testing.assert_allclose(answer["times"], wanted, atol=1e-6)
    for number, start in enumerate(starts):
        alone = keras.ops.softmax(network(clips[:, start : start + 20], training=False))
        np.testing.assert_allclose(answer["scores"][:, number], alone, atol=1e-5)

    short = windows(clips[:, :5], 1.0, 0.1)
    np.testing.assert_allclose(short["times"], [[0.0, 0.05]], atol=1e-6)
    assert short["scores"].shape == (2, 1, 3)
