"""`Servable` on version folders made by hand: what is served, and what is refused, and why.

Those that training exports are in test_servable.py.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.errors import BadVersion, InvalidInput
from serving.runtime.decoding import Limits
from serving.runtime.endpoint import STRING, TensorSpec
from serving.runtime.executors import EXECUTORS
from serving.runtime.servable import Servable
from tests.serving.conftest import CODES

DOMAINS = ("image", "audio", "text")


@pytest.fixture(scope="module")
def servables(tiny) -> dict[tuple[str, str], Servable]:
    return {
        (domain, executor): Servable.load(tiny.exported(domain), executor)
        for domain in DOMAINS
        for executor in EXECUTORS
    }


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_from_bytes_to_scores_as_tensorflow_alone_does(tiny, servables, domain, executor) -> None:
    """Its decoders, and one graph from encoded input to scores."""
    servable = servables[domain, executor]
    assert (servable.name, servable.version, servable.executor_name) == (domain, 1, executor)
    for seed in range(5):
        item = tiny.item(domain, seed)
        example = servable.preprocess(servable.decode(item))
        found = servable.predict(example[np.newaxis])
        np.testing.assert_allclose(found.scores[0], tiny.scores(domain, item), atol=1e-5)


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_is_served_of_a_version(tiny, servables, domain) -> None:
    servable = servables[domain, "openvino"]
    assert servable.endpoints.keys() == {"preprocess", "predict", "classify", "serving_default"}
    assert servable.default_endpoint == "predict"
    assert servable.raw_endpoints == {"classify", "serving_default"}
    assert list(servable.labels) == tiny.labels[domain]
    batched = {name for name, endpoint in servable.endpoints.items() if endpoint.batched}
    assert batched == {"predict", "classify", "serving_default"}
    assert servable.endpoints["classify"].inputs["inputs"] == TensorSpec("inputs", STRING, (None,))
    below = CODES if domain == "text" else None
    assert servable.endpoints["predict"].inputs["examples"].below == below
    k = len(servable.labels)
    predicted = servable.endpoints["predict"].outputs
    assert {name: spec.shape for name, spec in predicted.items()} == {
        "logits": (None, k),
        "scores": (None, k),
    }
    assert servable.precision == "f32"


@pytest.mark.parametrize("domain", DOMAINS)
def test_other_endpoints_equal_tensorflows_own_call(tiny, servables, domain) -> None:
    """From the encoded input in the graph too, though the server decodes by itself."""
    servable = servables[domain, "openvino"]
    own = tf.saved_model.load(str(tiny.exported(domain))).signatures
    item = tiny.item(domain, 3)
    encoded = np.array([item.encode() if isinstance(item, str) else item], object)
    decoded = np.array(servable.decode(item), object if domain == "text" else None)
    (name,) = servable.endpoints["preprocess"].inputs
    calls = {"classify": {"inputs": encoded}, "preprocess": {name: decoded}}
    calls["predict"] = {"examples": servable.preprocess(servable.decode(item))[np.newaxis]}
    for endpoint, inputs in calls.items():
        found = servable.run(endpoint, inputs)
        wanted = own[endpoint](**{key: tf.constant(value) for key, value in inputs.items()})
        assert found.keys() == wanted.keys()
        for output, value in wanted.items():
            np.testing.assert_array_equal(found[output], value.numpy())


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_sound_version_passes_its_own_checks(servables, domain, executor) -> None:
    servables[domain, executor].check_golden()
    servables[domain, executor].warm_up((1, 32))


@pytest.mark.parametrize(
    ("domain", "decoded"),
    [
        ("image", np.zeros((9, 9, 3), np.float32)),
        ("image", np.zeros((9, 9, 4), np.uint8)),
        ("image", np.zeros((1, 9, 9, 3), np.uint8)),
        ("image", "a text"),
        ("audio", np.zeros(100, np.float64)),
        ("audio", np.zeros((100, 2), np.float32)),
        ("text", np.zeros(3, np.uint8)),
    ],
)
def test_preprocess_takes_what_decode_gives_and_nothing_else(servables, domain, decoded) -> None:
    with pytest.raises(InvalidInput, match="and the model takes"):
        servables[domain, "openvino"].preprocess(decoded)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    "examples",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((1, 9, 8, 3), np.float32),
        np.zeros((1, 8, 8, 3), np.float64),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((1, 1, 8, 8, 3), np.float32),
    ],
    ids=lambda examples: f"{examples.dtype}{examples.shape}",
)
def test_predict_refuses_what_does_not_fit(servables, executor, examples) -> None:
    with pytest.raises(InvalidInput, match=r"takes float32 of shape \[any, 8, 8, 3\]"):
        servables["image", executor].predict(examples)


def test_the_servers_limits_hold_for_inputs_and_not_for_golden_ones(tiny) -> None:
    servable = Servable.load(tiny.exported("image"), limits=Limits(max_pixels=10))
    with pytest.raises(InvalidInput, match="TRIPTYCH_MAX_PIXELS"):
        servable.decode(tiny.item("image"))
    servable.check_golden()


@pytest.fixture
def folder(tiny, tmp_path: Path) -> Path:
    return tiny.publish(tmp_path, "text")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_falsified_golden_score_is_refused(tiny, folder, executor) -> None:
    tiny.spoil_golden(folder)
    servable = Servable.load(folder, executor)
    with pytest.raises(BadVersion, match=r"largest difference is 0\.01,"):
        servable.check_golden()


def test_other_weights_are_refused(tiny, folder) -> None:
    """Every digest is right, and yet it is not the model that was tested."""
    shutil.rmtree(folder / "variables")
    shutil.copytree(tiny.exported("text", seed=1) / "variables", folder / "variables")
    tiny.renew_digests(folder)
    with pytest.raises(BadVersion, match="not the model that was tested"):
        Servable.load(folder).check_golden()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda batch: batch, "largest difference is inf"),
        (lambda batch: 0 * batch, "gives 0 rows of scores for one input"),
        (lambda batch: 2 * batch, "gives 2 rows of scores for one input"),
    ],
)
def test_scores_that_are_no_numbers_or_not_there_are_refused(tiny, folder, rows, said) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "examples")])
    def predict(examples):
        logits = tf.fill([rows(tf.shape(examples)[0]), 2], np.nan)
        return {"logits": logits, "scores": logits}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "text")])
    def preprocess(text):
        return {"example": tf.strings.unicode_decode(text, "UTF-8")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(inputs):
        return {"scores": tf.zeros([tf.size(inputs), 2])}

    endpoints = {"predict": predict, "preprocess": preprocess, "classify": classify}
    module.endpoints = list(endpoints.values())
    replace_saved_model(tiny, folder, module, endpoints)
    with pytest.raises(BadVersion, match=said):
        Servable.load(folder, "tensorflow").check_golden()


def test_labels_and_scores_must_be_as_many(tiny, folder) -> None:
    tiny.rewrite_manifest(folder, lambda manifest: manifest.labels.append("ugly"))
    with pytest.raises(BadVersion, match="3 labels, 2 golden scores and 2 computed"):
        Servable.load(folder).check_golden()


def test_a_manifest_of_another_domain_is_refused(tiny, folder) -> None:
    tiny.rewrite_manifest(folder, lambda manifest: manifest.input.audio.SetInParent())
    with pytest.raises(BadVersion, match="golden input cannot be read"):
        Servable.load(folder).check_golden()


def test_a_saved_model_without_the_endpoints_is_refused(tiny, folder) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "examples")])
    def predict(examples):
        return {"scores": examples}

    module.predict = predict
    replace_saved_model(tiny, folder, module, {"predict": predict})
    with pytest.raises(BadVersion, match="no preprocess and no classify endpoint"):
        Servable.load(folder)
    replace_saved_model(tiny, folder, tf.Module(), {})
    with pytest.raises(BadVersion, match="no signatures"):
        Servable.load(folder)


def test_what_is_no_saved_model_is_refused(tiny, folder) -> None:
    (folder / "saved_model.pb").write_bytes(b"\x00not a protobuf")
    tiny.renew_digests(folder)
    with pytest.raises(BadVersion, match=r"TensorFlow [\d.]+ cannot load it"):
        Servable.load(folder)


def test_importing_it_imports_no_runtime() -> None:
    """Seconds, which the command line does not have."""
    code = (
        "import serving.runtime.servable, sys; print({'tensorflow', 'openvino'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def replace_saved_model(tiny, folder: Path, module: tf.Module, signatures: dict) -> None:
    extra = folder / "assets.extra"
    kept = {path.name: path.read_bytes() for path in extra.iterdir()}
    shutil.rmtree(folder)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    extra.mkdir()
    for name, content in kept.items():
        (extra / name).write_bytes(content)
    tiny.renew_digests(folder)
