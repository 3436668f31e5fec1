"""What goes wrong fails for whom it concerns, once, and leaves nobody waiting."""

import asyncio
import concurrent.futures
import gc

import numpy as np
import pytest

from serving.batch_scheduler import Batching
from serving.batcher import Batcher
from serving.errors import ModelUnavailable, QueueTimeout
from tests.serving.batcher_fakes import (
    Executor,
    Immediate,
    busy,
    call,
    compute,
    example,
    is_answer,
)


def poisoned_by(number):
    return lambda inputs: (
        ValueError(f"cannot be {number}") if (inputs["x"] == number).any() else None
    )


async def test_bad_example_fails_only_itself():
    executor = Executor(wrong=poisoned_by(2))
    batcher = Batcher(executor, Batching(max_batch_size=4, batch_timeout_seconds=3600))
    tasks = await call(batcher, range(4))
    executor.let_go(5)
    await asyncio.wait(tasks)
    assert executor.batches == [[0, 1, 2, 3], [0], [1], [2], [3]]
    with pytest.raises(ValueError, match="cannot be 2"):
        tasks.pop(2).result()
    assert [is_answer(t.result(), n) for t, n in zip(tasks, (0, 1, 3), strict=True)] == [True] * 3
    await batcher.close()


async def test_bad_example_of_a_large_request_spares_the_others():
    """Its other pieces are not computed in vain, but for one that has begun."""
    executor = Executor(wrong=poisoned_by(1))
    batcher = Batcher(executor, Batching(max_batch_size=2))
    (large,) = await call(batcher, [1], rows=6)
    await executor.began.acquire()
    (small,) = await call(batcher, [3])
    executor.let_go()
    with pytest.raises(ValueError, match="cannot be 1"):
        await large
    executor.let_go(8)
    assert is_answer(await small, 3)
    assert executor.batches in ([[1.0, 1.01], [3]], [[1.0, 1.01], [1.02, 1.03], [3]])
    await batcher.close()


async def test_pieces_that_fail_together_are_one_error():
    """asyncio complains of each that nobody asks about."""
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: complaints.append(context))
    executor = Executor()
    batcher = Batcher(executor, Batching(max_batch_size=2))
    first = await busy(batcher, executor)
    with pytest.raises(QueueTimeout):
        await batcher.predict(example(1, rows=6), timeout_seconds=0.001)
    executor.let_go()
    await first
    await batcher.close()
    gc.collect()
    assert complaints == []


async def test_executor_error_reaches_every_caller_once():
    executor = Executor(wrong=lambda inputs: OSError("device lost"))
    batcher = Batcher(executor, Batching())
    tasks = await call(batcher, range(3))
    executor.let_go(100)
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == ["device lost"] * 3
    assert len({id(error) for error in errors}) == 3
    assert len(executor.batches) == 1 + 3
    executor.wrong = lambda inputs: None
    assert is_answer(await batcher.predict(example(5)), 5)
    await batcher.close()


class Panic(BaseException):
    """As PyO3 raises for a panic in Rust."""


@pytest.mark.parametrize(
    "error",
    [StopIteration, Panic, asyncio.CancelledError, concurrent.futures.CancelledError, SystemExit],
)
async def test_error_that_is_no_exception_leaves_nobody_waiting(error):
    executor = Executor(wrong=lambda inputs: error("device lost"))
    batcher = Batcher(executor, Batching())
    executor.let_go(4)
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*await call(batcher, range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 3
    assert all(error.__name__ in str(outcome) for outcome in outcomes)
    executor.wrong = lambda inputs: None
    executor.let_go()
    assert is_answer(await batcher.predict(example(5)), 5)
    await batcher.close()


@pytest.mark.parametrize("rows", [0, 2])
async def test_executor_that_answers_for_other_than_it_was_asked(rows):
    answer = {"total": np.zeros(rows, np.float32), "pair": np.zeros((rows, 2), np.float32)}
    batcher = Batcher(Immediate(lambda inputs: answer), Batching())
    with pytest.raises(RuntimeError, match=f"batch of 1 with {rows} rows of total"):
        await batcher.predict(example(0))
    await batcher.close()


async def test_one_output_without_rows_is_enough():
    batcher = Batcher(
        Immediate(lambda inputs: compute(inputs) | {"mean": np.float32(3)}), Batching()
    )
    with pytest.raises(RuntimeError, match="batch of 1 with no rows of mean"):
        await batcher.predict(example(0))
    await batcher.close()


async def test_hook_sees_every_batch_and_harms_none():
    seen = []

    def on_batch(rows, nanoseconds):
        seen.append((rows, nanoseconds > 0))
        raise KeyError(rows)

    batcher = Batcher(Immediate(), Batching(max_batch_size=2), on_batch=on_batch)
    predictions = await asyncio.gather(*await call(batcher, range(3)))
    assert all(is_answer(prediction, i) for i, prediction in enumerate(predictions))
    await batcher.close()
    assert seen == [(2, True), (1, True)]


async def test_a_batch_that_failed_is_not_counted():
    seen = []
    executor = Executor(wrong=poisoned_by(1))
    batcher = Batcher(executor, Batching(), on_batch=lambda rows, nanoseconds: seen.append(rows))
    executor.let_go(4)
    await asyncio.gather(*await call(batcher, range(3)), return_exceptions=True)
    await batcher.close()
    assert seen == [1, 1]


async def test_without_a_thread_to_compute_callers_are_told():
    batcher = Batcher(Immediate(), Batching())
    batcher._threads.shutdown()  # as where the system has no more of them
    async with asyncio.timeout(10):
        with pytest.raises(ModelUnavailable, match="send the call again"):
            await batcher.predict(example(0))
        await batcher.close()


def test_a_loop_that_ends_leaves_no_thread_in_trouble():
    """A batch that still computes then has nobody to tell; pytest fails what a thread raises."""
    executors = []

    async def leave():
        executor = Executor()
        executors.append(executor)
        await busy(Batcher(executor, Batching()), executor)

    asyncio.run(leave())
    executors[0].let_go()
    gc.collect()
    for thread in executors[0].used:
        thread.join(10)
        assert not thread.is_alive()
