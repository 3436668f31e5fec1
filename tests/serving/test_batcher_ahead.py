"""An executor that takes a batch ahead: one waits in it for a lane, as OpenVINO's queue has it."""

import asyncio
import threading
import time

import numpy as np

from serving.batch import Batch, Call
from serving.batcher import Batcher, Batching
from serving.runtime.executors import joined
from tests.serving.batcher_fakes import Immediate, call, compute, example, is_answer

WAIT_SECONDS = 0.02
PATIENCE = 10


class Queueing(Immediate):
    """One lane, and one batch waits for it. The lane's batch ends when the test says."""

    ahead = 1

    def __init__(self):
        super().__init__()
        self.lane = threading.Lock()
        self.called = asyncio.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.loop = asyncio.get_running_loop()

    def run(self, *parts, alone=False):
        self.loop.call_soon_threadsafe(self.called.release)
        with self.lane:
            assert self.may_end.acquire(timeout=PATIENCE)
            return compute(joined(parts))


def pass_time():
    """Without a sleep, which would let others go on."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        pass


async def test_a_batch_is_with_the_executor_before_a_lane_is_free():
    executor = Queueing()
    batcher = Batcher(executor, Batching(max_batch_size=1))
    async with asyncio.timeout(PATIENCE):
        (first,) = await call(batcher, [0])
        await executor.called.acquire()
        tasks = [first, *await call(batcher, [1, 2])]
        await executor.called.acquire()
    assert executor.called.locked(), "the third waits in the batcher's queue"
    assert len(batcher) == 1
    executor.may_end.release(3)
    for number, task in enumerate(tasks):
        assert is_answer(await task, number)
    await batcher.close()


async def test_until_a_lane_is_free_it_is_queued():
    executor = Queueing()
    batcher = Batcher(executor, Batching(max_batch_size=1))
    async with asyncio.timeout(PATIENCE):
        (first,) = await call(batcher, [0])
        await executor.called.acquire()
        (second,) = await call(batcher, [1])
        await executor.called.acquire()
    pass_time()
    executor.may_end.release()
    await first
    executor.may_end.release()
    answered = await second
    assert answered.queue_us >= WAIT_SECONDS * 1e6
    await batcher.close()


def test_computing_is_counted_from_the_lane_on():
    class Late(Immediate):
        def run(self, *parts, alone=False):
            pass_time()
            batch.comes_to_a_lane()
            return super().run(*parts)

    loop = asyncio.new_event_loop()
    arrival = time.monotonic()
    calls = [Call(example(1), 1, loop.create_future(), arrival, np.inf)]
    batch = Batch(calls, batched=True, sizes=(), alone=False, threads=0)
    (run,) = batch.run(Late())
    assert run.answers[0].queue_us >= WAIT_SECONDS * 1e6
    assert run.seconds < WAIT_SECONDS
    loop.close()
