"""Every executor computes what TensorFlow computes, for many threads at once, and keeps still."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from serving.runtime.affinity import may_gather
from serving.runtime.cache import Cache
from serving.runtime.executors import EXECUTORS, openvino
from serving.runtime.executors.openvino import ov  # imported first by who silences its telemetry
from serving.runtime.priority import LOWEST, give_way, stand_back
from serving.runtime.threads import processors

TOLERANCE = 1e-5
audited: list[str] = []
sys.addaudithook(lambda event, arguments: audited.append(event))


@pytest.fixture(scope="module")
def saved_models(tiny):
    return {domain: tf.saved_model.load(str(tiny.exported(domain))) for domain in tiny.labels}


def opened(
    name, saved_model, precision="f32", threads=2, cache=None, key="weights", lone_calls=True
):
    def signature():
        return saved_model.signatures["predict"]

    return EXECUTORS[name](signature, precision, threads, cache or Cache(None), key, lone_calls)


@pytest.fixture(scope="module")
def executors(saved_models):
    return {
        (name, domain): opened(name, saved_model)
        for name in EXECUTORS
        for domain, saved_model in saved_models.items()
    }


def examples(domain: str, batch: int, length: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    if domain == "text":
        return {"examples": rng.integers(0, 64, (batch, length), np.int32)}
    shape = (batch, 8, 8, 3) if domain == "image" else (batch, length, 4)
    return {"examples": rng.normal(size=shape).astype(np.float32)}


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize("domain", ["image", "audio", "text"])
@pytest.mark.parametrize(("batch", "length"), [(1, 16), (7, 5), (32, 64)])
def test_outputs_are_those_of_the_saved_model(
    executors, saved_models, name, domain, batch, length
) -> None:
    given = examples(domain, batch, length)
    wanted = saved_models[domain].signatures["predict"](**given)
    found = executors[name, domain].run(given)
    assert found.keys() == {"logits", "scores"}
    for output, value in found.items():
        assert type(value) is np.ndarray
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, wanted[output], atol=TOLERANCE)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="priorities of threads are Linux's")
def test_who_loads_where_nobody_else_wants_to_does_not_compute_so(executors, saved_models) -> None:
    before = set(os.listdir("/proc/self/task"))

    def load() -> tuple[str, object]:
        stand_back()
        return str(threading.get_native_id()), opened("openvino", saved_models["image"])

    with ThreadPoolExecutor(1) as loader:
        thread, executor = loader.submit(load).result()
        executor.run(examples("image", 2))
        made = set(os.listdir("/proc/self/task")) - before - {thread}
    assert made
    assert all(os.sched_getscheduler(int(one)) != os.SCHED_IDLE for one in made)


@pytest.mark.skipif(not hasattr(os, "PRIO_PROCESS"), reason="priorities of threads are Linux's")
def test_who_computes_has_the_priority_of_who_loaded_first(monkeypatch, saved_models) -> None:
    """As a server's first load has it: the lowest."""
    with ThreadPoolExecutor(1) as compiling, ThreadPoolExecutor(1, initializer=give_way) as loader:
        monkeypatch.setattr(openvino, "_compiling", compiling)  # as in a process that has not yet
        before = set(os.listdir("/proc/self/task"))
        executor = loader.submit(opened, "openvino", saved_models["image"]).result()
        executor.run(examples("image", 2))
        made = set(os.listdir("/proc/self/task")) - before
        assert len(made) > 2  # the loader, who compiles, and who computes
        assert {os.getpriority(os.PRIO_PROCESS, int(one)) for one in made} == {LOWEST}
        executor.close()


def _read_only(given):
    return np.frombuffer(given.tobytes(), given.dtype).reshape(given.shape)


def _reversed(given):
    return np.ascontiguousarray(given[::-1])[::-1]


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize(
    "laid",
    [np.asfortranarray, lambda given: np.repeat(given, 2, axis=0)[::2], _read_only, _reversed],
    ids=["fortran", "strided", "read only", "reversed"],
)
def test_examples_may_lie_in_memory_in_any_way(executors, name, laid) -> None:
    given = examples("image", 6)["examples"]
    before = given.copy()
    wanted = executors[name, "image"].run({"examples": given})["scores"]
    found = executors[name, "image"].run({"examples": laid(given)})["scores"]
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("name", EXECUTORS)
def test_what_was_returned_is_the_callers_own(executors, name) -> None:
    executor = executors[name, "image"]
    first = executor.run(examples("image", 3))
    before = {output: value.copy() for output, value in first.items()}
    executor.run({"examples": examples("image", 3)["examples"] + 1})
    for output, value in first.items():
        np.testing.assert_array_equal(value, before[output])


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_row_does_not_depend_on_its_neighbours(executors, name) -> None:
    executor = executors[name, "image"]
    given = examples("image", 8)["examples"]
    together = executor.run({"examples": given})["scores"]
    for i in range(8):
        alone = executor.run({"examples": given[i : i + 1]})["scores"]
        np.testing.assert_allclose(together[i : i + 1], alone, atol=TOLERANCE)


@pytest.mark.parametrize("name", EXECUTORS)
def test_threads_do_not_read_each_others_results(executors, name) -> None:
    executor = executors[name, "image"]
    batches = [examples("image", size) for size in (1, 2, 3, 5)]
    wanted = [executor.run(batch)["scores"] for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda i: executor.run(batches[i % 4])["scores"], range(400))
        for i, scores in enumerate(found):
            np.testing.assert_allclose(scores, wanted[i % 4], atol=TOLERANCE)


@pytest.mark.parametrize("name", EXECUTORS)
def test_who_only_waits_has_the_same_answer(executors, name) -> None:
    executor = executors[name, "image"]
    for size in (3, 1, 3):
        inputs = examples("image", size)
        wanted = executor.run(inputs)["scores"]
        found = executor.run(inputs, here=False)["scores"]
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE)


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_lanes_and_their_threads_keep_to_the_budget(saved_models, name, threads) -> None:
    executor = opened(name, saved_models["image"], threads=threads)
    assert executor.name == name
    assert executor.lanes >= 1
    assert executor.threads >= 1
    assert executor.lanes * executor.threads <= threads
    executor.close()


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize("alone", [False, True])
def test_parts_are_one_batch(executors, name, alone) -> None:
    given = examples("image", 6)["examples"]
    parts = [{"examples": given[a:b]} for a, b in ((0, 1), (1, 4), (4, 6))]
    wanted = executors[name, "image"].run({"examples": given})
    found = executors[name, "image"].run(*parts, alone=alone)
    for output, value in wanted.items():
        np.testing.assert_allclose(found[output], value, atol=TOLERANCE)


@pytest.mark.parametrize("name", EXECUTORS)
def test_what_is_closed_answers_no_more(saved_models, name) -> None:
    executor = opened(name, saved_models["image"])
    executor.run(examples("image", 1))
    executor.close()
    executor.close()
    with pytest.raises((RuntimeError, AttributeError)):
        executor.run(examples("image", 1))


def test_openvino_calls_nobody_and_forks_nothing(saved_models) -> None:
    audited.clear()
    opened("openvino", saved_models["image"]).close()
    assert audited
    assert not {"os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect"} & set(audited)
    assert sys.modules["openvino_telemetry"] is None


def test_openvino_computes_in_float32_unless_asked(executors, saved_models) -> None:
    """Its own choice is bfloat16 where the processor has it, 0.06 off in a logit."""
    assert executors["openvino", "image"].precision == "f32"
    rough = opened("openvino", saved_models["image"], precision="bf16")
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert rough.precision == ("bf16" if has_bf16 else "f32")
    given = examples("image", 4)
    exact = executors["openvino", "image"].run(given)["logits"]
    difference = np.abs(rough.run(given)["logits"] - exact).max()
    assert (difference > TOLERANCE) == has_bf16


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []
    convert = ov.convert_model
    monkeypatch.setattr(ov, "convert_model", lambda model: seen.append(model) or convert(model))
    return seen


def test_openvino_converts_once(saved_models, conversions, tmp_path) -> None:
    """What was converted is kept, gives the same numbers, and in the same precision."""
    given = examples("image", 4)
    found = []
    for _ in range(2):
        executor = opened("openvino", saved_models["image"], cache=Cache(tmp_path))
        assert executor.precision == "f32"
        found.append(executor.run(given))
        executor.close()
    assert len(conversions) == 1
    for output, value in found[0].items():
        np.testing.assert_array_equal(found[1][output], value)


def test_openvino_takes_no_other_models_conversion(saved_models, conversions, tmp_path) -> None:
    cache = Cache(tmp_path)
    opened("openvino", saved_models["image"], cache=cache).close()
    opened("openvino", saved_models["image"], cache=cache, precision="bf16", threads=1).close()
    assert len(conversions) == 1
    opened("openvino", saved_models["image"], cache=cache, key="others").close()
    assert len(conversions) == 2


@pytest.mark.parametrize("which", ["graph", "outputs", "weights"])
@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[: len(data) // 2]])
def test_openvino_converts_again_where_the_cache_is_spoilt(
    saved_models, conversions, tmp_path, spoil, which
) -> None:
    opened("openvino", saved_models["image"], cache=Cache(tmp_path)).close()
    begins = {b"<?xml": "graph", b'["log': "outputs"}
    named = {begins.get(path.read_bytes()[:5], "weights"): path for path in tmp_path.iterdir()}
    kept = named[which]
    kept.write_bytes(spoil(kept.read_bytes()))
    executor = opened("openvino", saved_models["image"], cache=Cache(tmp_path))
    given = examples("image", 2)
    wanted = saved_models["image"].signatures["predict"](**given)["scores"]
    np.testing.assert_allclose(executor.run(given)["scores"], wanted, atol=TOLERANCE)
    assert len(conversions) == 2


def test_without_lone_calls_there_is_one_compilation(saved_models) -> None:
    given = examples("image", 3)
    both = opened("openvino", saved_models["image"])
    lanes = opened("openvino", saved_models["image"], lone_calls=False)
    assert (len(both._compiled), len(lanes._compiled)) == (2, 1)
    for alone in (False, True):
        np.testing.assert_allclose(
            lanes.run(given, alone=alone)["logits"],
            both.run(given, alone=alone)["logits"],
            atol=1e-5,
        )


def test_a_part_of_the_processors_is_not_always_the_first_ones(saved_models) -> None:
    """Where threads are pinned, several processes share the same few."""
    if processors() == 1:
        pytest.skip("there is no other processor")
    for threads in (1, processors()):
        executor = opened("openvino", saved_models["image"], threads=threads)
        for compiled in executor._compiled:
            pinned = threads == processors() and not may_gather(threads)
            assert compiled.get_property("ENABLE_CPU_PINNING") is pinned
