"""Who leaves takes nobody with it: callers that cancel, and those that waited long enough."""

import asyncio
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.batch_scheduler import Batching
from serving.batcher import Batcher
from serving.compute_budget import ComputeBudget
from serving.errors import QueueTimeout
from tests.serving.batcher_fakes import (
    Executor,
    Immediate,
    Queueing,
    busy,
    call,
    compute,
    example,
    is_answer,
)

SOON = 0.001  # seconds until a queue timeout that a test waits for
FULL = 3600.0  # seconds that a test does not wait: until then only full batches run
PATIENCE = 10.0  # for what must not hang


@pytest.mark.parametrize("leaver", range(5))
async def test_cancel_while_queued_takes_out_only_itself(leaver):
    """MLServer's adaptive batcher hangs the other callers when one of them cancels."""
    executor = Executor()
    batcher = Batcher(executor, Batching())
    first = await busy(batcher, executor, rows=8)
    rest = await call(batcher, range(1, 6))
    gone = rest.pop(leaver)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert len(batcher) == 4
    executor.let_go(2)
    await asyncio.gather(first, *rest)
    expected = [number for number in range(1, 6) if number != leaver + 1]
    assert executor.batches[1:] == [expected]
    assert all(
        is_answer(task.result(), number) for task, number in zip(rest, expected, strict=True)
    )
    await batcher.close()


@pytest.mark.parametrize("leaver", range(5))
async def test_cancel_while_running_drops_only_its_rows(leaver):
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=15, batch_timeout_seconds=FULL))
    tasks = [
        asyncio.create_task(batcher.predict(example(number, rows=1 + number)))
        for number in range(5)
    ]
    await executor.began.acquire()
    gone = tasks[leaver]
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    executor.let_go()
    for number, task in enumerate(tasks):
        if task is not gone:
            assert is_answer(await task, number, rows=1 + number)
    (late,) = await call(batcher, [9])
    executor.let_go()
    await batcher.close()
    assert is_answer(await late, 9)


async def test_all_leave_and_nothing_is_computed():
    executor = Executor()
    batcher = Batcher(executor, Batching())
    for task in (tasks := await call(batcher, range(3))):
        task.cancel()
    await asyncio.wait(tasks)
    assert len(batcher) == 0
    assert executor.batches == []
    late = await call(batcher, [7])
    executor.let_go()
    await batcher.close()
    assert is_answer(await late[0], 7)
    assert executor.batches == [[7]]


async def test_all_pieces_of_a_large_request_leave_with_it():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=2))
    (large,) = await call(batcher, [1], rows=7)
    await executor.began.acquire()
    (small,) = await call(batcher, [2])
    large.cancel()
    await asyncio.wait([large])
    assert len(batcher) == 1
    executor.let_go(2)
    assert is_answer(await small, 2)
    assert executor.batches == [[1.0, 1.01], [2]]
    await batcher.close()


async def test_cancel_between_the_batch_and_its_error():
    executor = Executor(wrong=lambda inputs: OSError("device lost"))
    batcher = Batcher(executor, Batching(max_batch_size=3, batch_timeout_seconds=FULL))
    tasks = await call(batcher, range(3))
    await executor.began.acquire()
    tasks[1].cancel()
    executor.let_go(10)
    await asyncio.wait(tasks)
    assert tasks[1].cancelled()
    assert [str(tasks[i].exception()) for i in (0, 2)] == ["device lost"] * 2
    assert executor.batches == [[0, 1, 2], [0], [2]]
    await batcher.close()


async def test_who_waited_too_long_is_told_at_once_and_never_computed():
    """Not only once the batch ends that it waits for: that may take a second."""
    executor = Executor()
    batcher = Batcher(executor, Batching())
    first = await busy(batcher, executor)
    patient = await call(batcher, [1])
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(QueueTimeout, match=r"waited 0\.\d+ s for its turn"):
            await batcher.predict(example(2), timeout_seconds=SOON)
    assert not first.done()
    assert len(batcher) == 1
    executor.let_go(2)
    await asyncio.gather(first, *patient)
    assert executor.batches == [[0], [1]]
    await batcher.close()


async def test_who_came_while_the_executor_was_idle_expires_as_well():
    """Behind others that are due, and whose turn comes when the batch ends."""
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=1))
    patient = await call(batcher, [0, 1])
    (hasty,) = await call(batcher, [2], timeout_seconds=SOON)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(QueueTimeout):
            await hasty
    assert executor.batches == [[0]]
    executor.let_go(2)
    await asyncio.gather(*patient)
    assert executor.batches == [[0], [1]]
    await batcher.close()


async def test_who_waited_too_long_is_not_computed_where_the_loop_is_late_to_tell():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=1))
    first = await busy(batcher, executor)
    patient = await call(batcher, [1, 2])
    executor.let_go()
    await executor.began.acquire()
    (hasty,) = await call(batcher, [3], timeout_seconds=SOON, priority=-1)
    until = time.monotonic() + 2 * SOON
    while time.monotonic() < until:
        pass
    executor.let_go()
    until = time.monotonic() + PATIENCE
    while len(executor.batches) < 3:  # the loop does nothing meanwhile
        assert time.monotonic() < until
    executor.let_go(2)
    with pytest.raises(QueueTimeout):
        await hasty
    await asyncio.gather(first, *patient)
    assert executor.batches == [[0], [1], [2]]
    await batcher.close()


async def test_the_hastiest_is_told_first():
    executor = Executor()
    batcher = Batcher(executor, Batching())
    first = await busy(batcher, executor)
    (slow,) = await call(batcher, [1], timeout_seconds=3600)
    (hasty,) = await call(batcher, [2], timeout_seconds=SOON)
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([hasty])
    assert isinstance(hasty.exception(), QueueTimeout)
    executor.let_go(2)
    assert is_answer(await slow, 1)
    await first
    await batcher.close()


async def test_who_waits_for_another_models_batch_expires_too():
    budget = ComputeBudget(1)
    other, executor = Executor(), Executor()
    others = Batcher(other, Batching(), budget=budget)
    batcher = Batcher(executor, Batching(), budget=budget)
    first = await busy(others, other)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(QueueTimeout):
            await batcher.predict(example(1), timeout_seconds=SOON)
    assert executor.batches == []
    other.let_go()
    await first
    await asyncio.gather(others.close(), batcher.close())


async def test_the_models_own_queue_timeout_holds_where_the_caller_names_none():
    executor = Executor()
    batcher = Batcher(executor, Batching(queue_timeout_seconds=SOON))
    first = await busy(batcher, executor)
    patient = await call(batcher, [1], timeout_seconds=3600)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(QueueTimeout):
            await batcher.predict(example(2))
    executor.let_go(2)
    await asyncio.gather(first, *patient)
    await batcher.close()


async def test_a_batch_that_runs_is_not_timed_out():
    executor = Executor()
    batcher = Batcher(executor, Batching())
    (task,) = await call(batcher, [1], timeout_seconds=0.05)
    await executor.began.acquire()
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done
    executor.let_go()
    assert is_answer(await task, 1)
    await batcher.close()


CALLERS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.booleans(), st.integers(0, 4)), max_size=20
)


@settings(deadline=None)  # threads on a busy machine
@given(
    CALLERS, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans()
)
def test_everyone_gets_their_own_answer_whoever_leaves(
    callers, max_batch_size, lanes, capacity, padded, queues
):
    """callers: the length of the example, its rows, whether it leaves, and how many turns later.

    Two models share a budget, and every other caller asks the second.
    """

    async def caller(batcher, number, length, rows, leaves, turns):
        task = asyncio.create_task(batcher.predict(example(number, (length,), rows)))
        for _ in range(turns):
            await asyncio.sleep(0)
        if leaves:
            task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            return leaves
        return is_answer(outcome, number, (length,), rows)

    async def everyone():
        budget = ComputeBudget(capacity)
        sizes = []

        def answer(inputs):
            sizes.append(len(inputs["x"]))
            return compute(inputs)

        batching = Batching(max_batch_size, allowed_batch_sizes=(max_batch_size,) if padded else ())
        executors = [
            Queueing(lanes, permits=1000, answer=answer)
            if queues
            else Immediate(answer, lanes=lanes)
            for _ in range(2)
        ]
        batchers = [Batcher(executor, batching, budget=budget) for executor in executors]
        answers = await asyncio.gather(
            *(caller(batchers[number % 2], number, *row) for number, row in enumerate(callers))
        )
        assert all(answers)
        assert [len(batcher) for batcher in batchers] == [0, 0]
        await asyncio.gather(*(batcher.close() for batcher in batchers))
        for executor in executors:
            executor.close()
        assert max(sizes, default=0) <= max_batch_size
        if padded:
            assert np.unique(sizes).tolist() in ([], [max_batch_size])

    asyncio.run(asyncio.wait_for(everyone(), PATIENCE))
