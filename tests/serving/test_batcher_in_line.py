"""A batch that waits in the executor for a lane: what the queue promises holds there too."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.batcher import Batcher, Batching
from serving.errors import QueueTimeout
from serving.runtime.executors.handover import Handover
from tests.serving.batcher_fakes import Immediate, Queueing, call, example, is_answer

SOON = 0.001  # seconds until a queue timeout that a test waits for
LONG = 0.05  # for what must not happen
PATIENCE = 10.0  # for what must not hang


@pytest.fixture
async def executor():
    executor = Queueing()
    yield executor
    executor.let_go(100)
    executor.close()


async def in_line(executor, batcher, numbers, hasty=None):
    """One call computes, number 0, and these are with the executor."""
    async with asyncio.timeout(PATIENCE):
        (first,) = await call(batcher, [0], rows=3)
        await executor.taken.acquire()
        tasks = await call(batcher, numbers)
        if hasty is not None:
            tasks += await call(batcher, [hasty], timeout_seconds=SOON)
        await executor.taken.acquire()
    return first, tasks


async def test_it_is_with_the_executor_before_a_lane_is_free(executor):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await in_line(executor, batcher, [1, 2, 3, 4, 5, 6])
    assert len(batcher) == 3  # one batch is with the executor, and only one
    assert executor.taken.locked()
    assert executor.batches == []
    executor.let_go(3)
    assert is_answer(await first, 0, rows=3)
    for number, task in enumerate(tasks, 1):
        assert is_answer(await task, number)
    assert executor.batches[1:] == [[1, 2, 3], [4, 5, 6]]
    await batcher.close()


async def test_until_a_lane_is_free_it_is_queued(executor):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await in_line(executor, batcher, [1, 2, 3])
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
async def test_who_leaves_there_is_not_computed_and_takes_nobody_along(executor, leaver):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await in_line(executor, batcher, [1, 2, 3])
    tasks[leaver].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[leaver]
    executor.let_go(2)
    await first
    rest = [number for number in (1, 2, 3) if number != leaver + 1]
    for number in rest:
        assert is_answer(await tasks[number - 1], number)
    assert executor.batches[1:] == [rest]
    await batcher.close()


async def test_all_leave_and_nothing_is_computed(executor):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await in_line(executor, batcher, [1, 2, 3])
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    executor.let_go(2)
    await first
    async with asyncio.timeout(PATIENCE):
        await batcher.close()
    assert len(executor.batches) == 1


async def test_who_waits_too_long_there_is_told_at_once_and_not_computed(executor):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, (*patient, hasty) = await in_line(executor, batcher, [1, 2], hasty=3)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(QueueTimeout):
            await hasty
    assert not first.done()
    executor.let_go(2)
    await asyncio.gather(first, *patient)
    assert executor.batches[1:] == [[1, 2]]
    await batcher.close()


async def test_who_leaves_from_a_lane_does_not_have_the_others_computed_again(executor):
    batcher = Batcher(executor, Batching(max_batch_size=3))
    first, tasks = await in_line(executor, batcher, [1, 2, 3])
    executor.let_go()
    await first
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    executor.let_go(2)
    for number in (2, 3):
        assert is_answer(await tasks[number - 1], number)
    assert executor.batches[1:] == [[1, 2, 3]]
    await batcher.close()


class LateToTake(Queueing):
    """Its first batch is on the way for long."""

    def __init__(self):
        super().__init__()
        self.called = asyncio.Semaphore(0)
        self.may_take = threading.Event()

    def run(self, *parts, **how):
        self.loop.call_soon_threadsafe(self.called.release)
        if not self.batches:
            assert self.may_take.wait(PATIENCE)
        return super().run(*parts, **how)


async def test_it_does_not_overtake_who_is_still_on_the_way():
    executor = LateToTake()
    batcher = Batcher(executor, Batching(max_batch_size=1))
    tasks = await call(batcher, [0])
    await executor.called.acquire()
    tasks += await call(batcher, [1])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LONG):
            await executor.called.acquire()
    executor.may_take.set()
    executor.let_go(2)
    await asyncio.gather(*tasks)
    assert executor.batches == [[0], [1]]
    await batcher.close()
    executor.close()


class LateToTell(Queueing):
    """Its first batch has ended for long before it is told."""

    def __init__(self):
        super().__init__(permits=2)
        self.computed = asyncio.Semaphore(0)
        self.may_tell = threading.Event()

    def run(self, *parts, **how):
        is_first = not parts[0]["x"].any()
        outputs = super().run(*parts, **how)
        self.loop.call_soon_threadsafe(self.computed.release)
        if is_first:
            assert self.may_tell.wait(PATIENCE)
        return outputs


async def test_it_is_not_told_before_who_had_the_lane():
    executor = LateToTell()
    batcher = Batcher(executor, Batching(max_batch_size=1))
    told = []
    tasks = await call(batcher, [0])
    await executor.taken.acquire()
    tasks += await call(batcher, [1])
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda task, number=number: told.append(number))
    async with asyncio.timeout(PATIENCE):
        await executor.computed.acquire()
        await executor.computed.acquire()
    done, _ = await asyncio.wait(tasks, timeout=LONG)
    assert not done
    executor.may_tell.set()
    await asyncio.gather(*tasks)
    assert told == [0, 1]
    await batcher.close()
    executor.close()


@pytest.mark.parametrize(
    ("events", "is_back"),
    [
        (("accept", "call back"), True),
        (("call back", "accept"), True),
        (("accept", "lane", "call back"), False),
        (("call back", "begin", "accept"), False),
    ],
)
def test_it_comes_back_until_it_has_a_lane(events, is_back):
    changed = threading.Condition(threading.Lock())
    before = Handover(changed)
    handover = Handover(changed, [before])
    stopped = threading.Event()
    happen = {
        "begin": handover.begin,
        "accept": lambda: handover.accept(stopped.set),
        "call back": handover.call_back,
        "lane": before.give_lane,
    }
    for event in events:
        happen[event]()
    assert stopped.is_set() == is_back
    assert handover.is_called_back == is_back


def test_who_comes_after_one_that_was_called_back_waits_for_it_again():
    changed = threading.Condition(threading.Lock())
    first = Handover(changed)
    second = Handover(changed, [first])
    third = Handover(changed, [first, second])
    first.accept(lambda: None)
    second.wait_for_turn()
    second.begin()
    second.accept(lambda: None)
    second.call_back()
    with ThreadPoolExecutor(1) as thread:
        turn = thread.submit(third.wait_for_turn)
        with pytest.raises(TimeoutError):
            turn.result(LONG)
        second.begin()
        second.accept(lambda: None)
        turn.result(PATIENCE)


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
