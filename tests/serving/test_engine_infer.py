"""`infer`: which way an endpoint's tensors take, what each call is told, and what is counted."""

import asyncio
import math

import numpy as np
import pytest

from serving.account import Account
from serving.batch_scheduler import Batching
from serving.errors import InternalError, InvalidInput, ModelNotFound, QueueFull, QueueTimeout
from tests.serving.engine_fakes import House, strings

SOON = {"timeout_seconds": 0.001}


@pytest.fixture
async def house():
    house = House(max_queue_size=4)
    await house.serve("digits")
    yield house
    await house.close()


def executor(house):
    return house.executors["digits"]


def statistics(house):
    return house.engine.statistics("digits")[1]


async def busy(house, rows=1):
    """A call that the executor holds."""
    executor(house).may_compute.clear()
    task = asyncio.create_task(house.infer("predict", examples=np.zeros(rows, int)))
    await executor(house).began.wait()
    return task


async def test_tensors_of_the_default_endpoint_share_batches(house) -> None:
    first = await busy(house, rows=4)
    rest = [
        asyncio.create_task(house.infer("predict", examples=np.array(numbers)))
        for numbers in ([1], [2, 0], [1])
    ]
    await asyncio.sleep(0)
    executor(house).may_compute.set()
    answers = await asyncio.gather(first, *rest)
    assert executor(house).batches == [[0, 0, 0, 0], [1, 2, 0, 1]]
    classes = [answer.outputs["scores"].argmax(-1).tolist() for answer in answers]
    assert classes == [[0, 0, 0, 0], [1], [2, 0], [1]]
    answer = answers[2]
    assert (answer.model, answer.version, answer.endpoint) == ("digits", 1, "predict")
    assert answer.outputs.keys() == {"logits", "scores"}
    account = answer.account
    assert (account.batch_size, account.version, account.executor) == (4, 1, "fake")
    assert account.decode_us == 0
    assert account.compute_us > 0


@pytest.mark.parametrize("endpoint", ["classify", "serving_default"])
async def test_strings_go_through_our_decoders_and_the_batcher(house, endpoint) -> None:
    answer = await house.infer(endpoint, inputs=strings("2", "0", "1"))
    assert answer.outputs["scores"].tolist() == np.eye(3)[[2, 0, 1]].tolist()
    assert answer.outputs["classes"].tolist() == [[b"zero", b"one", b"two"]] * 3
    assert answer.endpoint == endpoint
    assert answer.account.decode_us > 0
    assert sorted(n for batch in executor(house).batches for n in batch) == [0, 1, 2]
    assert house.loaded["digits"].servable.ran == []


async def test_other_endpoints_run_by_themselves(house) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    answer = await house.infer("double", x=x)
    np.testing.assert_array_equal(answer.outputs["y"], x * 2)
    answer = await house.infer("total", x=x[0])
    assert answer.outputs["sum"] == 1
    assert executor(house).batches == []


@pytest.mark.parametrize(
    ("endpoint", "inputs", "message"),
    [
        ("embed", {"examples": np.array([1])}, "no endpoint embed"),
        ("predict", {"inputs": np.array([1])}, "takes 'examples', and the request has 'inputs'"),
        ("predict", {"examples": np.array([1.5])}, r"float64 \[1\], .* takes int64 \[any\]"),
        ("classify", {"inputs": np.array([1])}, r"int64 \[1\], .* takes string \[any\]"),
        ("double", {"x": np.zeros((2, 3), np.float32)}, r"takes float32 \[any, 2\]"),
    ],
)
async def test_what_does_not_fit_is_never_queued(house, endpoint, inputs, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        await house.infer(endpoint, **inputs)
    assert executor(house).batches == []
    assert house.loaded["digits"].servable.ran == []


async def test_the_string_that_cannot_be_read_is_named(house) -> None:
    with pytest.raises(InvalidInput, match=r"^input 2: seven is no class$"):
        await house.infer("classify", inputs=strings("1", "2", "seven", "0"))


@pytest.mark.parametrize(
    ("endpoint", "inputs"),
    [("predict", {"examples": np.array([-1])}), ("classify", {"inputs": strings("bug", "1")})],
)
async def test_a_mistake_of_ours_is_a_number_to_the_caller(house, endpoint, inputs) -> None:
    with pytest.raises(InternalError) as caught:
        await house.infer(endpoint, **inputs)
    assert "no caller may read" not in str(caught.value)
    assert caught.value.__cause__ is None
    (answer,) = (await house.classify("1")).results
    assert answer[0].label == "one"


@pytest.mark.parametrize(
    ("endpoint", "inputs"),
    [("predict", {"examples": np.array([1])}), ("classify", {"inputs": strings("1")})],
)
async def test_the_callers_patience_holds_for_each_way(house, endpoint, inputs) -> None:
    first = await busy(house)
    async with asyncio.timeout(10):
        with pytest.raises(QueueTimeout):
            await house.infer(endpoint, how=SOON, **inputs)
    executor(house).may_compute.set()
    await first
    assert executor(house).batches == [[0]]


DOUBLE = {"x": np.ones((1, 2), np.float32)}


@pytest.mark.parametrize("own", [True, False])
async def test_the_wait_for_a_worker_is_one_in_a_queue(own) -> None:
    """Of an endpoint that runs by itself: the caller's patience, or else the model's own."""
    house = House(Batching(queue_timeout_seconds=0.2 if own else math.inf))
    await house.serve("digits")
    servable = house.loaded["digits"].servable
    servable.may_decode.clear()
    running = [asyncio.create_task(house.infer("double", **DOUBLE)) for _ in range(2)]
    await asyncio.sleep(0)  # so that they have the workers
    how = {} if own else {"timeout_seconds": 0.2}
    async with asyncio.timeout(10):
        with pytest.raises(QueueTimeout, match=r"waited 0\.\d+ s for a worker.*allow more"):
            await house.infer("double", how=how, **DOUBLE)
    servable.may_decode.set()
    answers = await asyncio.gather(*running)  # what runs is not cut off
    assert [answer.outputs["y"].tolist() for answer in answers] == [[[2, 2]]] * 2
    assert servable.ran == ["double"] * 2
    patient = await house.infer("double", how={"timeout_seconds": 5}, **DOUBLE)
    assert patient.outputs["y"].tolist() == [[2, 2]]
    await house.close()


async def test_who_leaves_while_waiting_for_a_worker_is_not_run(house) -> None:
    servable = house.loaded["digits"].servable
    servable.may_decode.clear()
    tasks = [
        asyncio.create_task(house.infer("double", how={"timeout_seconds": 9}, **DOUBLE))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    tasks[2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[2]
    servable.may_decode.set()
    await asyncio.gather(*tasks[:2])
    assert servable.ran == ["double"] * 2


async def test_the_urgent_go_first_on_each_way() -> None:
    house = House(Batching(max_batch_size=1))
    await house.serve("digits")
    first = await busy(house)
    usual = asyncio.create_task(house.infer("predict", examples=np.array([1])))
    await asyncio.sleep(0)
    urgent = asyncio.create_task(house.infer("classify", how={"priority": -1}, inputs=strings("2")))
    async with asyncio.timeout(10):
        for _ in iter(lambda: len(house.loaded["digits"].batcher) < 2, False):
            await asyncio.sleep(0)  # until it has been decoded, and waits too
    executor(house).may_compute.set()
    await asyncio.gather(first, usual, urgent)
    assert executor(house).batches == [[0], [2], [1]]
    await house.close()


@pytest.mark.parametrize(
    ("endpoint", "inputs"),
    [
        ("classify", {"inputs": strings("0", "1", "2")}),
        ("double", {"x": np.zeros((3, 2), np.float32)}),
    ],
)
async def test_no_more_is_taken_in_than_may_wait(house, endpoint, inputs) -> None:
    """Of what waits for a worker too, and so is in no queue yet."""
    house.loaded["digits"].servable.may_decode.clear()
    tasks = [asyncio.create_task(house.infer(endpoint, **inputs)) for _ in range(3)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    house.loaded["digits"].servable.may_decode.set()
    await asyncio.wait(tasks)
    assert tasks[0].exception() is None
    assert [type(task.exception()) for task in tasks[1:]] == [QueueFull] * 2
    await house.infer(endpoint, **inputs)


async def test_a_caller_that_leaves_leaves_nothing_behind(house) -> None:
    house.loaded["digits"].servable.may_decode.clear()
    leaving = asyncio.create_task(house.infer("classify", inputs=strings(*"0120")))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    house.loaded["digits"].servable.may_decode.set()
    async with asyncio.timeout(5):
        await house.infer("classify", inputs=strings(*"0120"))
        await house.manager.close()  # which waits for every handle


async def test_statistics_count_calls_rows_and_batches(house) -> None:
    await house.infer("predict", examples=np.array([1, 2]))
    await house.infer("classify", inputs=strings("1"))
    await house.classify("0")
    with pytest.raises(InternalError):
        await house.infer("predict", examples=np.array([-1]))
    counted = statistics(house)
    assert (counted.success.count, counted.fail.count) == (3, 1)
    assert (counted.inference_count, counted.execution_count) == (4, 3)
    assert {rows: batch.count for rows, batch in counted.batches.items()} == {2: 1, 1: 2}
    assert counted.queue.count == counted.compute_input.count == counted.compute_infer.count == 3
    assert counted.success.ns >= counted.compute_infer.ns > 0
    assert counted.compute_input.ns > 0
    assert counted.last_inference_ms > 1_600_000_000_000


async def test_a_call_with_nothing_to_answer_is_a_failure(house) -> None:
    """And one with at least one input classified a success: of `classify` as of `infer`."""
    for inputs in (("seven",), ("bug", "seven"), ("0", "seven")):
        await house.classify(*inputs)
    assert (statistics(house).success.count, statistics(house).fail.count) == (1, 2)
    assert statistics(house).queue.count == statistics(house).compute_infer.count == 1
    for endpoint, inputs in (
        ("classify", {"inputs": strings("seven", "0")}),
        ("predict", {"examples": np.array([1.5])}),
        ("embed", {"examples": np.array([1])}),
    ):
        with pytest.raises(InvalidInput):
            await house.infer(endpoint, **inputs)
    assert (statistics(house).success.count, statistics(house).fail.count) == (1, 5)
    assert statistics(house).fail.ns > 0


async def test_who_is_refused_or_leaves_is_a_failure(house) -> None:
    house.loaded["digits"].servable.may_decode.clear()
    leaving = asyncio.create_task(house.classify(*"0120"))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await house.classify("0")
    assert statistics(house).fail.count == 1  # of a version that never answered, too
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (statistics(house).success.count, statistics(house).fail.count) == (0, 2)
    house.labels = ()
    await house.serve("digits", "numbers")
    with pytest.raises(InvalidInput, match="no labels"):
        await house.classify("0", model="numbers")
    assert house.engine.statistics("numbers")[1].fail.count == 1


async def test_statistics_are_of_models_that_are_known(house) -> None:
    assert house.engine.statistics("digits") == {}
    with pytest.raises(ModelNotFound):
        house.engine.statistics("letters")


def test_the_account_is_metadata_that_grpc_takes() -> None:
    metadata = Account(1, 2, 3, 4, 5, "openvino").metadata()
    told = "queue-us=1, decode-us=2, compute-us=3, batch-size=4, version=5, executor=openvino"
    assert metadata == (("triptych-account", told),)
