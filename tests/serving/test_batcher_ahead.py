"""A batch that is with the executor shortly before a lane is free: the queue's promises hold."""

import asyncio
import os
import threading
import time

import pytest

from serving import lanes
from serving.batch_scheduler import Batching
from serving.batcher import Batcher
from serving.compute_budget import ComputeBudget
from serving.errors import QueueTimeout
from tests.serving.batcher_fakes import Executor, Immediate, Queueing, call, example, is_answer

SOON = 0.001  # seconds until a queue timeout that a test waits for
LONG = 0.05  # for what must not happen
PATIENCE = 10.0  # for what must not hang
HOUR = 3600.0


@pytest.fixture
async def executor():
    executor = Queueing()
    yield executor
    executor.let_go(100)
    executor.close()


@pytest.fixture
def early(monkeypatch):
    """As soon as a lane's end is in sight, however far that is."""
    monkeypatch.setattr(lanes, "EARLY_SECONDS", HOUR)


@pytest.fixture
def late(monkeypatch):
    """Never: each lane should have ended by now for as long as an hour."""
    monkeypatch.setattr(lanes, "EARLY_SECONDS", -HOUR)


async def known(executor, batcher):
    """It has computed one batch, and so it is known how long they take."""
    executor.let_go()
    await batcher.predict(example(9))
    await executor.taken.acquire()
    executor.batches.clear()


async def computing(executor, batcher):
    """One call computes, number 0."""
    async with asyncio.timeout(PATIENCE):
        (first,) = await call(batcher, [0], rows=3)
        await executor.taken.acquire()
    return first


async def ahead(executor, batcher, numbers):
    """One call computes, number 0, and the first of these are with the executor."""
    await known(executor, batcher)
    first = await computing(executor, batcher)
    async with asyncio.timeout(PATIENCE):
        tasks = await call(batcher, numbers)
        await executor.taken.acquire()
    return first, tasks


async def none_goes_ahead(executor):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LONG):
            await executor.taken.acquire()


async def test_it_is_with_the_executor_before_a_lane_is_free(executor, early):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await ahead(executor, batcher, [1, 2, 3, 4, 5, 6])
    assert len(batcher) == 3  # one batch is, and only one
    assert executor.taken.locked()
    assert executor.batches == []
    executor.let_go(3)
    assert is_answer(await first, 0, rows=3)
    for number, task in enumerate(tasks, 1):
        assert is_answer(await task, number)
    assert executor.batches[1:] == [[1, 2, 3], [4, 5, 6]]
    await batcher.close()


async def test_so_is_the_one_after_it(executor, early):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await ahead(executor, batcher, [1, 2, 3])
    executor.let_go()
    await first
    async with asyncio.timeout(PATIENCE):
        tasks += await call(batcher, [4, 5, 6])
        await executor.taken.acquire()
    assert len(batcher) == 0
    executor.let_go(2)
    await asyncio.gather(*tasks)
    assert executor.batches[1:] == [[1, 2, 3], [4, 5, 6]]
    await batcher.close()


async def test_only_a_lone_call_computes_in_the_thread_that_asks(executor, early):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await ahead(executor, batcher, [1, 2, 3, 4, 5, 6])
    executor.let_go(3)
    await asyncio.gather(first, *tasks)
    assert executor.here == [True, True, False, False]
    await batcher.close()


async def test_not_what_is_less_than_a_lanes_share(executor, early):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    await known(executor, batcher)
    first = await computing(executor, batcher)
    tasks = await call(batcher, [1])
    await none_goes_ahead(executor)
    executor.let_go(2)
    await asyncio.gather(first, *tasks)
    await batcher.close()


async def test_not_before_it_is_early_enough(executor, late):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    await known(executor, batcher)
    first = await computing(executor, batcher)
    tasks = await call(batcher, [1, 2, 3])
    await none_goes_ahead(executor)
    executor.let_go(2)
    await asyncio.gather(first, *tasks)
    assert executor.batches[1:] == [[1, 2, 3]]
    await batcher.close()


async def test_not_where_no_end_is_in_sight(executor, early):
    """How long a batch takes is not known, as none has ended."""
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first = await computing(executor, batcher)
    tasks = await call(batcher, [1, 2, 3])
    await none_goes_ahead(executor)
    executor.let_go(2)
    await asyncio.gather(first, *tasks)
    await batcher.close()


async def test_not_where_another_model_wants_the_threads(executor, early):
    budget = ComputeBudget(1)
    other = Executor()
    others = Batcher(other, Batching(), budget=budget)
    batcher = Batcher(executor, Batching(max_batch_size=3), budget=budget)
    await known(executor, batcher)
    first = await computing(executor, batcher)
    foreign = await call(others, [7])
    await asyncio.sleep(0)
    tasks = await call(batcher, [1, 2, 3])
    executor.let_go(3)
    async with asyncio.timeout(PATIENCE):
        await other.began.acquire()
        await first
        assert executor.batches[1:] == []
        other.let_go()
        await asyncio.gather(*foreign, *tasks)
    await asyncio.gather(batcher.close(), others.close())


async def test_until_a_lane_is_free_it_is_queued(executor, early):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await ahead(executor, batcher, [1, 2, 3])
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        pass
    executor.let_go()
    await first
    executor.let_go()
    for task in tasks:
        answered = await task
        assert answered.queue_us >= LONG * 1e6
        assert answered.compute_us < LONG * 1e6
    await batcher.close()


@pytest.mark.parametrize("leaver", range(3))
async def test_who_leaves_before_it_is_taken_is_not_computed(executor, late, leaver):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    await known(executor, batcher)
    first = await computing(executor, batcher)
    tasks = await call(batcher, [1, 2, 3])
    await leave(tasks[leaver])
    executor.let_go(2)
    await first
    rest = [number for number in (1, 2, 3) if number != leaver + 1]
    for number in rest:
        assert is_answer(await tasks[number - 1], number)
    assert executor.batches[1:] == [rest]
    await batcher.close()


@pytest.mark.parametrize("leaver", range(3))
async def test_who_leaves_after_it_is_taken_takes_nobody_along(executor, early, leaver):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await ahead(executor, batcher, [1, 2, 3])
    await leave(tasks[leaver])
    executor.let_go(2)
    await first
    for number in (1, 2, 3):
        if number != leaver + 1:
            assert is_answer(await tasks[number - 1], number)
    await batcher.close()


async def test_all_leave_and_nobody_hangs(executor, early):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await ahead(executor, batcher, [1, 2, 3])
    for task in tasks:
        await leave(task)
    executor.let_go(2)
    await first
    async with asyncio.timeout(PATIENCE):
        await batcher.close()


async def test_who_waits_too_long_behind_it_is_told_at_once(executor, early):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await ahead(executor, batcher, [1, 2, 3])
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(QueueTimeout):
            await batcher.predict(example(4), timeout_seconds=SOON)
    assert not first.done()
    executor.let_go(2)
    await asyncio.gather(first, *tasks)
    assert executor.batches[1:] == [[1, 2, 3]]
    await batcher.close()


async def test_the_urgent_are_next_in_it(executor, late):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    await known(executor, batcher)
    first = await computing(executor, batcher)
    usual = await call(batcher, [1, 2, 3])
    urgent = await call(batcher, [4, 5, 6], priority=-1)
    executor.let_go(3)
    await asyncio.gather(first, *usual, *urgent)
    assert executor.batches[1:] == [[4, 5, 6], [1, 2, 3]]
    await batcher.close()


async def test_who_waits_to_go_ahead_ends_with_the_load(executor, monkeypatch):
    """Its thread too: close would leave it behind."""
    monkeypatch.setattr(lanes, "EARLY_SECONDS", -LONG)
    batcher = Batcher(executor, Batching(max_batch_size=3))
    await known(executor, batcher)
    first = await computing(executor, batcher)
    for task in await call(batcher, [1, 2, 3]):
        await leave(task)
    executor.let_go()
    await first
    await batcher.close()
    until = time.monotonic() + PATIENCE
    while any(thread.name.startswith("wait") for thread in threading.enumerate()):
        assert time.monotonic() < until


class LateToTell(Queueing):
    """Its first batch has ended for long before it is told."""

    def __init__(self):
        super().__init__(permits=2)
        self.computed = asyncio.Semaphore(0)
        self.may_tell = threading.Event()

    def run(self, *parts, **how):
        outputs = super().run(*parts, **how)
        self.loop.call_soon_threadsafe(self.computed.release)
        if not parts[0]["x"].all():
            assert self.may_tell.wait(PATIENCE)
        return outputs


async def test_it_is_not_told_before_who_had_the_lane(early):
    executor = LateToTell()
    budget = ComputeBudget(1)
    batcher = Batcher(executor, Batching(max_batch_size=3), budget=budget)
    await known(executor, batcher)
    told = []
    first = await computing(executor, batcher)
    tasks = [first, *await call(batcher, [1, 2, 3])]
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda task, number=number: told.append(number))
    executor.let_go()
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            await executor.computed.acquire()
        done, _ = await asyncio.wait(tasks, timeout=LONG)
        assert not done
        executor.may_tell.set()
        await asyncio.gather(*tasks)
    assert told == [0, 1, 2, 3]
    assert budget.idle
    await batcher.close()
    executor.close()


@pytest.mark.skipif(not hasattr(os, "PRIO_PROCESS"), reason="priorities of threads are Linux's")
@pytest.mark.parametrize("kind", [Immediate, Queueing])
async def test_who_computes_gives_way_and_who_waits_for_it_does_not(kind):
    nice = []

    def answer(inputs):
        return {"nice": inputs["x"][:, 0]}

    executor = kind(answer=answer)
    if kind is Queueing:
        executor.let_go()
    run = executor.run

    def listening(*parts, **how):
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return run(*parts, **how)

    executor.run = listening
    batcher = Batcher(executor, Batching())
    await batcher.predict(example(1))
    await batcher.close()
    executor.close()
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert nice == [own if kind is Queueing else 19]


async def leave(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
