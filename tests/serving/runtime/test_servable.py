"""A loaded version: the same scores everywhere, and nothing unsound gets through."""

import hashlib
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.run import Run
from serving.errors import BadVersion, InvalidInput
from serving.runtime.executors import EXECUTORS
from serving.runtime.servable import Servable, read_manifest

DOMAINS = ("image", "audio", "text")


def examples(servable: Servable, inputs: list) -> list[np.ndarray]:
    return [servable.preprocess(servable.decode(item)) for item in inputs]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_scores_are_those_of_keras_in_inference_mode(domain, executor, servables, runs, inputs):
    servable = servables(domain, executor)
    run = Run.open(runs[domain])
    model, preprocessing = run.trained_model(), run.preprocessing()
    for item in inputs[domain]:
        decoded = servable.decode(item)
        keras_example = preprocessing.preprocess(tf.constant(decoded))[None]
        wanted = keras.ops.softmax(model(keras_example, training=False))
        scores = servable.predict(servable.preprocess(decoded)[None]).scores
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        assert scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_scores_are_not_those_of_training_mode(servables, runs, inputs):
    servable = servables("image")
    batch = np.stack(examples(servable, inputs["image"]))
    model = Run.open(runs["image"]).trained_model()
    trained = keras.ops.convert_to_numpy(model(batch, training=True))
    assert np.abs(servable.predict(batch).logits - trained).max() > 1e-2


def test_by_an_executors_name_nothing_is_measured(repository):
    servable = Servable.load(repository / "tiny-image" / "1", "openvino")
    assert servable.report.speeds == {"openvino f32": {}}
    servable.reopen("tensorflow")
    assert servable.report.speeds == {"tensorflow f32": {}}
    servable.close()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_scores_never_depend_on_neighbours_or_on_what_came_before(executor, servables, inputs):
    servable = servables("image", executor)
    first, *others = examples(servable, inputs["image"])
    alone = servable.predict(first[None]).scores[0]
    rng = np.random.default_rng(0)
    for size in (2, 3, 7, 32):
        neighbours = rng.normal(0, 50, (size - 1, *first.shape)).astype(np.float32)
        batch = np.concatenate([first[None], neighbours])
        np.testing.assert_allclose(servable.predict(batch).scores[0], alone, atol=1e-5)
    for _ in range(1000):
        servable.predict(others[0][None])
    np.testing.assert_allclose(servable.predict(first[None]).scores[0], alone, atol=1e-5)


@pytest.mark.parametrize("domain", DOMAINS)
def test_classify_decodes_in_the_graph(domain, servables, repository, inputs):
    servable = servables(domain)
    saved = tf.saved_model.load(str(repository / f"tiny-{domain}" / "1"))
    encoded = [item.encode() if isinstance(item, str) else item for item in inputs[domain]]
    for endpoint in ("classify", "serving_default"):
        answer = saved.signatures[endpoint](inputs=tf.constant(encoded))
        assert answer["classes"].dtype == tf.string
        assert answer["classes"][0].numpy().tolist() == [
            label.encode() for label in servable.manifest.labels
        ]
        for row, example in zip(answer["scores"], examples(servable, inputs[domain]), strict=True):
            wanted = servable.predict(example[None]).scores[0]
            np.testing.assert_allclose(row, wanted, atol=1e-5)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 8, 16, 3), (1, 16, 16, 4), (1, 16, 16, 3, 1)])
def test_a_wrong_shape_is_refused(executor, shape, servables):
    with pytest.raises(InvalidInput, match=r"takes float32 of shape \[any, 16, 16, 3\]"):
        servables("image", executor).predict(np.zeros(shape, np.float32))


def test_a_wrong_type_is_refused(servables):
    with pytest.raises(InvalidInput, match="float64"):
        servables("image").predict(np.zeros((1, 16, 16, 3)))


@pytest.fixture
def version(repository: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(repository / "tiny-text" / "1", tmp_path / "1"))


def test_a_changed_file_is_refused(version: Path) -> None:
    path = next((version / "variables").glob("*.data*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadVersion, match="not the file that was exported"):
        Servable.load(version)


def test_a_missing_file_is_refused(version: Path) -> None:
    next((version / "variables").glob("*.index")).unlink()
    with pytest.raises(BadVersion, match="cannot be read"):
        Servable.load(version)


def test_a_manifest_of_another_schema_is_refused(version: Path) -> None:
    path = version / "assets.extra" / "manifest.json"
    path.write_text(path.read_text().replace('"schemaVersion": 1', '"schemaVersion": 2'))
    with pytest.raises(BadVersion, match="schema 2"):
        read_manifest(version)


def test_a_manifest_cannot_name_files_outside(version: Path) -> None:
    path = version / "assets.extra" / "manifest.json"
    path.write_text(path.read_text().replace('"saved_model.pb"', '"../../secret"'))
    with pytest.raises(BadVersion, match="outside"):
        Servable.load(version)


@pytest.mark.parametrize("domain", DOMAINS)
def test_golden_inputs_reproduce(domain, servables):
    servables(domain, "openvino").check_golden()


def test_a_falsified_golden_score_is_refused(version):
    golden = version / "assets.extra" / "golden.json"
    text = golden.read_text()
    start = text.index('"scores": [') + len('"scores": [')
    golden.write_text(text[:start] + "0.5," + text[text.index(",", start) + 1 :])
    manifest = version / "assets.extra" / "manifest.json"
    old, new = (hashlib.sha256(t.encode()).hexdigest() for t in (text, golden.read_text()))
    manifest.write_text(manifest.read_text().replace(old, new))
    servable = Servable.load(version, "tensorflow")
    with pytest.raises(BadVersion, match="golden scores are not reproduced"):
        servable.check_golden()
