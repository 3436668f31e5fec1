"""Every executor computes what TensorFlow computes, for many threads at once, and keeps still."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from serving.runtime.executors import EXECUTORS

TOLERANCE = 1e-5
audited: list[str] = []
sys.addaudithook(lambda event, arguments: audited.append(event))


@pytest.fixture(scope="module")
def saved_models(tiny):
    return {domain: tf.saved_model.load(str(tiny.exported(domain))) for domain in tiny.labels}


@pytest.fixture(scope="module")
def executors(saved_models):
    return {
        (name, domain): EXECUTORS[name](saved_model.signatures["predict"])
        for name in EXECUTORS
        for domain, saved_model in saved_models.items()
    }


def examples(domain: str, batch: int, length: int = 16) -> np.ndarray:
    rng = np.random.default_rng(batch)
    if domain == "text":
        return rng.integers(0, 64, (batch, length), np.int32)
    shape = (batch, 8, 8, 3) if domain == "image" else (batch, length, 4)
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize("domain", ["image", "audio", "text"])
@pytest.mark.parametrize(("batch", "length"), [(1, 16), (7, 5), (32, 64)])
def test_scores_are_those_of_the_saved_model(
    executors, saved_models, name, domain, batch, length
) -> None:
    given = examples(domain, batch, length)
    wanted = saved_models[domain].signatures["predict"](examples=tf.constant(given))
    found = executors[name, domain].predict(given)
    assert found.scores.dtype == found.logits.dtype == np.float32
    np.testing.assert_allclose(found.logits, wanted["logits"], atol=TOLERANCE)
    np.testing.assert_allclose(found.scores, wanted["scores"], atol=TOLERANCE)


@pytest.mark.parametrize("name", EXECUTORS)
def test_examples_may_lie_in_memory_in_any_way(executors, name) -> None:
    given = examples("image", 6)
    wanted = executors[name, "image"].predict(given).scores
    for other in (np.asfortranarray(given), np.repeat(given, 2, axis=0)[::2]):
        np.testing.assert_allclose(
            executors[name, "image"].predict(other).scores, wanted, atol=TOLERANCE
        )


@pytest.mark.parametrize("name", EXECUTORS)
def test_what_was_returned_is_the_callers_own(executors, name) -> None:
    executor = executors[name, "image"]
    first = executor.predict(examples("image", 3))
    before = first.scores.copy(), first.logits.copy()
    executor.predict(examples("image", 3) + 1)
    np.testing.assert_array_equal(first.scores, before[0])
    np.testing.assert_array_equal(first.logits, before[1])


@pytest.mark.parametrize("name", EXECUTORS)
def test_threads_do_not_read_each_others_results(executors, name) -> None:
    executor = executors[name, "image"]
    batches = [examples("image", size) for size in (1, 2, 3, 5)]
    wanted = [executor.predict(batch).scores for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda i: executor.predict(batches[i % 4]).scores, range(400))
        for i, scores in enumerate(found):
            np.testing.assert_allclose(scores, wanted[i % 4], atol=TOLERANCE)


def test_openvino_calls_nobody_and_forks_nothing(saved_models) -> None:
    audited.clear()
    EXECUTORS["openvino"](saved_models["image"].signatures["predict"]).close()
    assert not {"os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect"} & set(audited)
    assert sys.modules["openvino_telemetry"] is None


def test_openvino_computes_in_float32(executors) -> None:
    """Its own choice is bfloat16 where the processor has it, 0.06 off in a logit."""
    compiled = executors["openvino", "image"]._compiled
    assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
