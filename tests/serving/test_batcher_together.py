"""Batchers of several models under one thread budget, and how a batcher ends."""

import asyncio

import pytest

from serving.batch_scheduler import Batching
from serving.batcher import Batcher
from serving.compute_budget import ComputeBudget
from serving.errors import ModelUnavailable
from tests.serving.batcher_fakes import Executor, Immediate, busy, call, example, is_answer

PATIENCE = 10.0  # for what must not hang


class House:
    """Models that share a budget; `order` has who began a batch."""

    def __init__(self, threads, *executors, **batching):
        budget = ComputeBudget(threads)
        self.executors = executors
        self.order = []
        self.most = 0
        for executor in executors:
            executor.run = self._listening(executor)
        self.batchers = [
            Batcher(executor, Batching(**batching), budget=budget) for executor in executors
        ]

    def _listening(self, executor):
        run = executor.run

        def listening(*parts, **how):
            self.order.append(self.executors.index(executor))
            at_once = sum(one.at_once * one.threads for one in self.executors)
            self.most = max(self.most, at_once + executor.threads)
            return run(*parts, **how)

        return listening

    def let_go(self, batches):
        for executor in self.executors:
            executor.let_go(batches)

    async def close(self):
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(batcher.close() for batcher in self.batchers))


async def test_all_models_together_keep_to_the_budget():
    house = House(2, Executor(lanes=2), Executor(lanes=2), Executor(threads=2), max_batch_size=1)
    tasks = [task for batcher in house.batchers for task in await call(batcher, range(5))]
    house.let_go(5)
    predictions = await asyncio.gather(*tasks)
    assert all(is_answer(prediction, i % 5) for i, prediction in enumerate(predictions))
    assert len(house.order) == 15
    assert house.most <= 2
    await house.close()


async def test_a_busy_model_does_not_starve_a_quiet_one():
    house = House(1, Executor(), Executor(), max_batch_size=1)
    busy_one, quiet = house.batchers
    many = await call(busy_one, range(20))
    await house.executors[0].began.acquire()
    (one,) = await call(quiet, [7])
    house.let_go(20)
    assert is_answer(await one, 7)
    await asyncio.gather(*many)
    assert house.order.index(1) <= 2  # behind the batch that ran, and one that had asked before
    await house.close()


async def test_two_models_under_load_take_turns():
    house = House(1, Executor(), Executor(), max_batch_size=1)
    tasks = [task for batcher in house.batchers for task in await call(batcher, range(6))]
    async with asyncio.timeout(PATIENCE):
        for turn in range(12):
            for _ in iter(lambda turn=turn: len(house.order) <= turn, False):
                await asyncio.sleep(0)
            house.executors[house.order[turn]].let_go()  # the loop had time while it computed
        await asyncio.gather(*tasks)
    assert sum(a != b for a, b in zip(house.order, house.order[1:], strict=False)) >= 9
    await house.close()


async def test_who_computes_one_batch_after_another_keeps_to_the_budget():
    house = House(1, Executor(), Executor(), max_batch_size=1)
    one, other = house.batchers
    executor = house.executors[0]
    first = await busy(one, executor)
    rest = await call(one, [1, 2])
    for _ in rest:
        executor.let_go()
        async with asyncio.timeout(PATIENCE):
            await executor.began.acquire()
    rest += await call(other, [7])
    house.let_go(1)
    await asyncio.gather(first, *rest)
    assert house.most == 1
    assert house.order == [0, 0, 0, 1]
    await house.close()


async def test_whom_its_callers_have_left_keeps_no_other_model_waiting():
    """It had asked for threads first, and has no use for them any more."""
    house = House(1, Executor(), Executor(), Executor())
    running, left, waiting = house.batchers
    first = await busy(running, house.executors[0])
    (gone,) = await call(left, [1])
    await asyncio.sleep(0)
    (patient,) = await call(waiting, [2])
    await asyncio.sleep(0)
    gone.cancel()
    house.let_go(1)
    async with asyncio.timeout(PATIENCE):
        await first
        assert is_answer(await patient, 2)
    assert house.order == [0, 2]
    await house.close()


async def test_close_waits_for_threads_that_another_model_holds():
    house = House(1, Executor(), Executor())
    other, closed = house.batchers
    first = await busy(other, house.executors[0])
    waiting = await call(closed, [1, 2])
    closing = asyncio.create_task(closed.close())
    await asyncio.sleep(0)
    assert not closing.done()
    house.let_go(2)
    async with asyncio.timeout(PATIENCE):
        await closing
    assert [is_answer(await task, n) for n, task in enumerate(waiting, start=1)] == [True, True]
    await first
    await house.close()


async def test_close_finishes_the_queue_and_refuses_the_rest():
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=2))
    first = await busy(batcher, executor)
    rest = await call(batcher, [1, 2, 3])
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    assert len(batcher) == 3
    with pytest.raises(ModelUnavailable):
        await batcher.predict(example(4))
    assert not closing.done()
    executor.let_go(3)
    await closing
    predictions = await asyncio.gather(first, *rest)
    assert all(is_answer(prediction, i) for i, prediction in enumerate(predictions))
    assert executor.batches == [[0], [1, 2], [3]]
    assert executor.most_at_once == 1
    await batcher.close()


async def test_close_does_not_wait_for_the_batch_timeout():
    executor = Executor()
    batcher = Batcher(executor, Batching(batch_timeout_seconds=3600))
    tasks = await call(batcher, [1, 2])
    executor.let_go()
    await batcher.close()
    await asyncio.gather(*tasks)
    assert executor.batches == [[1, 2]]


async def test_close_that_is_cancelled_still_finishes_the_queue():
    executor = Executor()
    batcher = Batcher(executor, Batching())
    first = await busy(batcher, executor)
    rest = await call(batcher, [1])
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    executor.let_go(2)
    await asyncio.gather(first, *rest)
    await batcher.close()


async def test_close_leaves_no_thread_behind():
    executor = Executor(lanes=2)
    batcher = Batcher(executor, Batching(max_batch_size=1))
    executor.let_go(4)
    await asyncio.gather(*await call(batcher, range(4)))
    await batcher.close()
    for thread in executor.used:
        thread.join(PATIENCE)
        assert not thread.is_alive()


async def test_close_when_nothing_ever_came():
    await Batcher(Immediate(), Batching()).close()
