"""Who shares a batch with whom, and that each gets its own rows of it.

Who leaves is in test_batcher_leaving.py, what goes wrong in test_batcher_failing.py, and other
models and the end in test_batcher_together.py.
"""

import asyncio
import threading
import time

import numpy as np
import pytest

from serving.batch_scheduler import Batching
from serving.batcher import Batcher
from serving.errors import QueueFull
from tests.serving.batcher_fakes import (
    Executor,
    Immediate,
    busy,
    call,
    example,
    is_answer,
)

FULL = 3600.0  # seconds that a test does not wait: until then only full batches run


async def test_idle_begins_at_once_and_busy_gathers():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first = await busy(batcher, executor)
    rest = await call(batcher, [1, 2, 3, 4])
    assert len(batcher) == 4
    executor.let_go(3)
    predictions = await asyncio.gather(first, *rest)
    assert executor.batches == [[0], [1, 2, 3], [4]]
    assert all(is_answer(prediction, i) for i, prediction in enumerate(predictions))
    assert [prediction.batch_size for prediction in predictions] == [1, 3, 3, 3, 1]
    assert threading.current_thread() not in executor.used
    await batcher.close()


async def test_a_lone_call_waits_for_no_timer():
    """Two turns of the loop after it came, it has left the queue."""
    executor = Executor()
    batcher = Batcher(executor, Batching())
    (alone,) = await call(batcher, [7])
    await asyncio.sleep(0)
    assert len(batcher) == 0
    executor.let_go()
    assert is_answer(await alone, 7)
    await batcher.close()


async def test_a_lone_call_is_not_copied():
    executor = Executor()
    batcher = Batcher(executor, Batching())
    inputs = example(7)
    executor.let_go()
    await batcher.predict(inputs)
    assert executor.seen[0]["x"] is inputs["x"]
    await batcher.close()


@pytest.mark.parametrize(
    ("lanes", "shares"),
    [(1, [[0, 1, 2, 3], [4, 5, 6, 7]]), (2, [[0, 1], [2, 3], [4, 5], [6, 7]])],
)
async def test_callers_are_shared_out_to_all_lanes_half_to_compute_and_half_to_gather(
    lanes, shares
):
    executor = Executor(lanes=lanes)
    batcher = Batcher(executor, Batching())
    tasks = await call(batcher, range(8))
    for _ in range(lanes):
        await executor.began.acquire()
    assert sorted(executor.batches) == shares[:lanes]
    for _ in shares:  # the others follow one by one
        executor.let_go()
        await executor.began.acquire()
        if len(executor.batches) == len(shares):
            break
    executor.let_go(lanes)
    await asyncio.gather(*tasks)
    assert sorted(executor.batches) == shares
    await batcher.close()


@pytest.mark.parametrize(
    ("batching", "sizes"),
    [
        (Batching(max_batch_size=1), [1]),
        (Batching(max_batch_size=8), [1, 2, 4, 8]),
        (Batching(max_batch_size=5), [1, 2, 4, 5]),
        (Batching(max_batch_size=8, allowed_batch_sizes=(3, 8)), [3, 8]),
    ],
)
def test_batches_under_load_are_of_few_sizes(batching, sizes):
    assert list(batching.sizes) == sizes


@pytest.mark.parametrize(("lanes", "rows", "share"), [(1, 8, 4), (2, 8, 2), (2, 9, 3), (16, 8, 1)])
async def test_a_share_is_half_of_a_lanes_part(lanes, rows, share):
    assert Batcher(Executor(lanes=lanes), Batching()).share_of(rows) == share


async def test_a_lane_is_free_until_each_has_a_batch():
    executor = Executor(lanes=2)
    batcher = Batcher(executor, Batching())
    assert batcher.has_free_lane
    tasks = await call(batcher, range(4))
    for _ in range(2):
        await executor.began.acquire()
    assert not batcher.has_free_lane
    executor.let_go(4)
    await asyncio.gather(*tasks)
    assert batcher.has_free_lane
    await batcher.close()


async def test_a_share_is_as_large_as_a_batch_may_be():
    executor = Executor(lanes=2)
    batcher = Batcher(executor, Batching(max_batch_size=8, allowed_batch_sizes=(1, 3, 8)))
    tasks = await call(batcher, range(8))
    for _ in range(2):
        await executor.began.acquire()
    assert sorted(executor.batches) == [[0, 1, 2], [3, 4, 5]]
    executor.let_go(3)
    await asyncio.gather(*tasks)
    await batcher.close()


async def test_a_call_of_many_rows_is_not_shared_out():
    executor = Executor(lanes=2)
    batcher = Batcher(executor, Batching(max_batch_size=8))
    executor.let_go()
    assert (await batcher.predict(example(1, rows=8))).batch_size == 8
    assert executor.alone == [True]
    await batcher.close()


async def test_who_waits_for_full_batches_gets_them_full():
    executor = Executor(lanes=2)
    batcher = Batcher(executor, Batching(max_batch_size=4, batch_timeout_seconds=FULL))
    executor.let_go(2)
    await asyncio.gather(*await call(batcher, range(8)))
    assert sorted(executor.batches) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    await batcher.close()


async def test_calls_that_keep_coming_do_not_put_off_the_first_batch():
    """A call a turn of the loop, each just before the batch would begin."""
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=1000))
    tasks = []

    async def link(number):
        if number < 200:
            tasks.append(asyncio.create_task(link(number + 1)))
        return await batcher.predict(example(number))

    executor.let_go(1000)
    await link(0)
    await asyncio.gather(*tasks)
    assert len(executor.batches[0]) < 10
    await batcher.close()


async def test_one_shape_a_batch():
    executor = Executor()
    batcher = Batcher(executor, Batching())
    first = await busy(batcher, executor)
    short = await call(batcher, [1, 2], (2,))
    long = await call(batcher, [3, 4], (5,))
    executor.let_go(3)
    predictions = await asyncio.gather(first, *short, *long)
    assert executor.batches == [[0], [1, 2], [3, 4]]
    assert is_answer(predictions[3], 3, shape=(5,))
    await batcher.close()


async def test_one_dtype_a_batch():
    batcher = Batcher(Immediate(lambda inputs: {"y": inputs["x"].astype(str)}), Batching())
    answers = await asyncio.gather(
        batcher.predict({"x": np.array([7], np.int32)}),
        batcher.predict({"x": np.array([7], np.float32)}),
    )
    assert [answer.outputs["y"].tolist() for answer in answers] == [["7"], ["7.0"]]
    await batcher.close()


async def test_several_inputs_stay_together():
    def sums(inputs):
        return {"sum": inputs["a"] + inputs["b"].sum(axis=1)}

    batcher = Batcher(Immediate(sums), Batching(max_batch_size=10, batch_timeout_seconds=FULL))

    def inputs(n, rows):
        return {"a": np.full(rows, n, np.int64), "b": np.full((rows, 3), 10 * n, np.int64)}

    answers = await asyncio.gather(*(batcher.predict(inputs(n, 1 + n)) for n in range(4)))
    assert [answer.outputs["sum"].tolist() for answer in answers] == [
        [31 * n] * (1 + n) for n in range(4)
    ]
    assert {answer.batch_size for answer in answers} == {10}
    await batcher.close()


async def test_urgent_calls_go_first():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first = await busy(batcher, executor, rows=3)
    usual = await call(batcher, [1, 2], priority=0)
    urgent = await call(batcher, [3, 4], priority=-1)
    executor.let_go(3)
    await asyncio.gather(first, *usual, *urgent)
    assert executor.batches[1:] == [[3, 4, 1], [2]]
    await batcher.close()


async def test_more_rows_than_a_batch_holds_are_split_and_joined_in_order():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=4))
    first = await busy(batcher, executor)
    (large,) = await call(batcher, [1], rows=10)
    (small,) = await call(batcher, [2])
    executor.let_go(4)
    await first
    prediction = await large
    assert is_answer(prediction, 1, rows=10)
    assert is_answer(await small, 2)
    assert executor.batches[1:] == [
        [1.0, 1.01, 1.02, 1.03],
        [1.04, 1.05, 1.06, 1.07],
        [1.08, 1.09, 2.0],
    ]
    assert prediction.batch_size == 4
    await batcher.close()


async def test_batches_are_padded_to_an_allowed_size_and_cut():
    executor = Executor()
    seen = []
    batcher = Batcher(
        executor,
        Batching(max_batch_size=8, allowed_batch_sizes=(2, 4, 8)),
        on_batch=lambda rows, nanoseconds: seen.append(rows),
    )
    executor.let_go(4)
    for n, rows in enumerate([1, 3, 4, 5]):
        (task,) = await call(batcher, [n], rows=rows)
        prediction = await task
        assert is_answer(prediction, n, rows=rows)
        assert prediction.batch_size == rows
    assert [len(batch) for batch in executor.batches] == [2, 4, 4, 8]
    assert executor.batches[1] == [1.0, 1.01, 1.02, 1.02]  # a row that is sound, over again
    assert seen == [1, 3, 4, 5]
    await batcher.close()


async def test_what_has_no_batch_axis_never_shares():
    executor = Executor(answer=lambda inputs: {"sum": np.sum(inputs["x"])})
    batcher = Batcher(
        executor,
        Batching(max_batch_size=8, allowed_batch_sizes=(4, 8)),  # which it has no use for
        batched=False,
    )
    executor.let_go(3)
    tasks = await call(batcher, [1, 2, 3], rows=5)
    predictions = await asyncio.gather(*tasks)
    for n, prediction in enumerate(predictions, start=1):
        assert prediction.outputs["sum"] == example(n, rows=5)["x"].sum()
        assert prediction.batch_size == 1
    assert [len(batch) for batch in executor.batches] == [5, 5, 5]
    await batcher.close()


async def test_as_many_batches_at_once_as_there_are_lanes():
    executor = Executor(lanes=3)
    batcher = Batcher(executor, Batching(max_batch_size=2))
    tasks = await call(batcher, range(9))
    for _ in range(3):
        await executor.began.acquire()
    assert sorted(executor.batches) == [[0, 1], [2, 3], [4, 5]]
    assert len(batcher) == 3
    assert not any(executor.alone)
    executor.let_go(5)
    predictions = await asyncio.gather(*tasks)
    assert all(is_answer(prediction, i) for i, prediction in enumerate(predictions))
    assert executor.most_at_once == 3
    await batcher.close()


async def test_a_call_that_is_alone_has_all_threads():
    executor = Executor(lanes=2)
    batcher = Batcher(executor, Batching(max_batch_size=2))
    first = await busy(batcher, executor)
    others = await call(batcher, [1, 2, 3])
    executor.let_go(4)
    await asyncio.gather(first, *others)
    assert executor.alone == [True, False, False, False]
    await batcher.close()


async def test_the_next_batch_needs_no_loop_to_begin():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=2))
    first = await busy(batcher, executor)
    others = await call(batcher, [1, 2, 3, 4])
    executor.let_go()
    await executor.began.acquire()
    executor.let_go()
    deadline = time.monotonic() + 10
    while len(executor.batches) < 3:  # the loop does nothing meanwhile
        assert time.monotonic() < deadline
    executor.let_go()
    await asyncio.gather(first, *others)
    assert executor.batches == [[0], [1, 2], [3, 4]]
    assert executor.most_at_once == 1
    await batcher.close()


async def test_a_lane_does_not_run_away_from_the_loop():
    """Or another model, which asks by way of the loop, would have no turn."""
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=1))
    first = await busy(batcher, executor)
    others = await call(batcher, range(1, 9))
    executor.let_go()
    await executor.began.acquire()
    executor.let_go(9)
    until = time.monotonic() + 0.05
    while time.monotonic() < until:  # the loop does nothing meanwhile
        pass
    assert executor.batches == [[0], [1], [2]]
    await asyncio.gather(first, *others)
    await batcher.close()


async def test_time_is_accounted_for():
    executor = Executor()
    batcher = Batcher(executor, Batching())
    before = time.monotonic()
    first = await busy(batcher, executor)
    (second,) = await call(batcher, [1])
    executor.let_go(2)
    predictions = await asyncio.gather(first, second)
    elapsed_us = (time.monotonic() - before) * 1e6
    for prediction in predictions:
        assert prediction.compute_us > 0
        assert prediction.queue_us + prediction.compute_us <= elapsed_us + 1
    assert predictions[1].queue_us > 0
    await batcher.close()


async def test_a_full_queue_refuses_at_once_and_whole():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_queue_size=4))
    first = await busy(batcher, executor, rows=4)
    rest = await call(batcher, [1, 2, 3])
    with pytest.raises(QueueFull, match=r"3 inputs are waiting.*max_queue_size"):
        await batcher.predict(example(4, rows=2))
    assert len(batcher) == 3
    rest += await call(batcher, [5])
    executor.let_go(2)
    await asyncio.gather(first, *rest)
    executor.let_go()
    assert is_answer(await batcher.predict(example(6, rows=2)), 6, rows=2)
    await batcher.close()


async def test_full_batch_does_not_wait_for_the_timeout():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=3, batch_timeout_seconds=3600))
    two = await call(batcher, [1, 2])
    assert executor.batches == []
    executor.let_go()
    await asyncio.gather(*two, batcher.predict(example(3)))
    assert executor.batches == [[1, 2, 3]]
    await batcher.close()


async def test_timeout_ends_the_waiting():
    batcher = Batcher(Immediate(), Batching(batch_timeout_seconds=0.002))
    prediction = await batcher.predict(example(1))
    assert prediction.queue_us >= 1000
    await batcher.close()
