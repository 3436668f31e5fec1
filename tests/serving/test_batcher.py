"""The executor is a fake driven by hand: a test says when a batch ends, and how."""

import asyncio
import concurrent.futures
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.batcher import Batcher
from serving.errors import ModelUnavailable, QueueFull
from serving.runtime.executors import Scores


def example(number, shape=(2,)):
    return np.full(shape, number, np.float32)


def compute(examples):
    """Row by row, so that no example can answer for another."""
    totals = examples.reshape(len(examples), -1).sum(axis=1)
    return Scores(np.stack([totals, -totals], axis=1), np.stack([totals / 2, totals], axis=1))


class Executor:
    """Holds each batch until the test lets it go. `wrong` gives the error of a batch that fails."""

    def __init__(self, wrong=lambda examples: None):
        self.wrong = wrong
        self.batches = []
        self.permits = threading.Semaphore(0)
        self.loop = asyncio.get_running_loop()
        self.began = asyncio.Semaphore(0)
        self.threads = set()
        self.at_once = self.most_at_once = 0

    def __call__(self, examples):
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.threads.add(threading.current_thread())
        self.batches.append(examples[(slice(None), *[0] * (examples.ndim - 1))].tolist())
        self.loop.call_soon_threadsafe(self.began.release)
        try:
            assert self.permits.acquire(timeout=10)
            error = self.wrong(examples)
            if error is not None:
                raise error
            return compute(examples)
        finally:
            self.at_once -= 1

    def let_go(self, batches=1):
        self.permits.release(batches)


async def call(batcher, numbers, shape=(2,)):
    """One task a number, all of them queued by the time this returns."""
    tasks = [asyncio.create_task(batcher.predict(example(number, shape))) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def busy(batcher, executor):
    """A batcher that runs one example, number 0."""
    (first,) = await call(batcher, [0])
    await executor.began.acquire()
    return first


def is_answer(prediction, number, size=2):
    expected = compute(example(number)[None] if size == 2 else example(number, (size,))[None])
    return np.array_equal(prediction.logits, expected.logits[0]) and np.array_equal(
        prediction.scores, expected.scores[0]
    )


async def test_idle_begins_at_once_and_busy_gathers():
    executor = Executor()
    batcher = Batcher(executor, max_batch_size=3)
    first = await busy(batcher, executor)
    rest = await call(batcher, [1, 2, 3, 4])
    assert len(batcher) == 4
    executor.let_go(3)
    predictions = await asyncio.gather(first, *rest)
    assert executor.batches == [[0], [1, 2, 3], [4]]
    assert all(is_answer(prediction, i) for i, prediction in enumerate(predictions))
    assert threading.current_thread() not in executor.threads
    await batcher.close()


async def test_callers_that_are_ready_together_share_the_first_batch():
    executor = Executor()
    batcher = Batcher(executor)
    executor.let_go()
    await asyncio.gather(*await call(batcher, range(8)))
    assert executor.batches == [list(range(8))]
    await batcher.close()


async def test_one_shape_a_batch():
    executor = Executor()
    batcher = Batcher(executor)
    first = await busy(batcher, executor)
    short = await call(batcher, [1, 2], (2,))
    long = await call(batcher, [3, 4], (5,))
    executor.let_go(3)
    predictions = await asyncio.gather(first, *short, *long)
    assert executor.batches == [[0], [1, 2], [3, 4]]
    assert is_answer(predictions[3], 3, size=5)
    await batcher.close()


async def test_one_dtype_a_batch():
    batcher = Batcher(lambda examples: Scores(*[examples.astype(str)] * 2))
    answers = await asyncio.gather(
        batcher.predict(np.array([7], np.int32)), batcher.predict(np.array([7], np.float32))
    )
    assert [answer.scores.tolist() for answer in answers] == [["7"], ["7.0"]]
    await batcher.close()


async def test_time_is_accounted_for():
    executor = Executor()
    batcher = Batcher(executor)
    loop = asyncio.get_running_loop()
    before = loop.time()
    first = await busy(batcher, executor)
    (second,) = await call(batcher, [1])
    executor.let_go(2)
    predictions = await asyncio.gather(first, second)
    elapsed_us = (loop.time() - before) * 1e6
    for prediction in predictions:
        assert prediction.queue_us > 0
        assert prediction.predict_us > 0
        assert prediction.queue_us + prediction.predict_us <= elapsed_us + 1
    await batcher.close()


@pytest.mark.parametrize("leaver", range(5))
async def test_cancel_while_queued_takes_out_only_itself(leaver):
    """MLServer's adaptive batcher hangs the other callers when one of them cancels."""
    executor = Executor()
    batcher = Batcher(executor)
    first = await busy(batcher, executor)
    rest = await call(batcher, range(1, 6))
    gone = rest.pop(leaver)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert len(batcher) == 4
    executor.let_go(2)
    await asyncio.gather(first, *rest)
    expected = [number for number in range(1, 6) if number != leaver + 1]
    assert executor.batches == [[0], expected]
    assert all(
        is_answer(task.result(), number) for task, number in zip(rest, expected, strict=True)
    )
    await batcher.close()


@pytest.mark.parametrize("leaver", range(5))
async def test_cancel_while_running_drops_only_its_result(leaver):
    """MLServer's adaptive batcher hangs the other callers when one of them cancels."""
    executor = Executor()
    batcher = Batcher(executor)
    tasks = await call(batcher, range(5))
    await executor.began.acquire()
    gone = tasks.pop(leaver)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    executor.let_go()
    await asyncio.gather(*tasks)
    expected = [number for number in range(5) if number != leaver]
    assert all(is_answer(task.result(), n) for task, n in zip(tasks, expected, strict=True))
    executor.let_go()
    assert is_answer(await batcher.predict(example(9)), 9)
    await batcher.close()


async def test_cancel_of_everyone_leaves_a_working_batcher():
    executor = Executor()
    batcher = Batcher(executor, batch_timeout_seconds=3600)
    for task in (tasks := await call(batcher, range(3))):
        task.cancel()
    await asyncio.wait(tasks)
    assert len(batcher) == 0
    assert executor.batches == []
    late = await call(batcher, [7])
    executor.let_go()
    await batcher.close()
    assert is_answer(await late[0], 7)


async def test_cancel_between_the_batch_and_its_error():
    executor = Executor(wrong=lambda examples: OSError("device lost"))
    batcher = Batcher(executor)
    tasks = await call(batcher, range(3))
    await executor.began.acquire()
    tasks[1].cancel()
    executor.let_go(10)
    await asyncio.wait(tasks)
    assert tasks[1].cancelled()
    assert [str(tasks[i].exception()) for i in (0, 2)] == ["device lost"] * 2
    assert executor.batches == [[0, 1, 2], [0], [2]]
    await batcher.close()


async def test_bad_example_fails_only_itself():
    executor = Executor(
        wrong=lambda examples: ValueError("cannot be 2") if (examples == 2).any() else None
    )
    batcher = Batcher(executor)
    tasks = await call(batcher, range(4))
    executor.let_go(5)
    await asyncio.wait(tasks)
    assert executor.batches == [[0, 1, 2, 3], [0], [1], [2], [3]]
    with pytest.raises(ValueError, match="cannot be 2"):
        tasks.pop(2).result()
    assert [is_answer(t.result(), n) for t, n in zip(tasks, (0, 1, 3), strict=True)] == [True] * 3
    await batcher.close()


async def test_executor_error_reaches_every_caller_once():
    executor = Executor(wrong=lambda examples: OSError("device lost"))
    batcher = Batcher(executor)
    tasks = await call(batcher, range(3))
    executor.let_go(100)
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == ["device lost"] * 3
    assert len({id(error) for error in errors}) == 3
    assert len(executor.batches) == 1 + 3
    executor.wrong = lambda examples: None
    assert is_answer(await batcher.predict(example(5)), 5)
    await batcher.close()


class Panic(BaseException):
    """As PyO3 raises for a panic in Rust."""


@pytest.mark.parametrize(
    "error",
    [StopIteration, Panic, asyncio.CancelledError, concurrent.futures.CancelledError],
)
async def test_error_that_is_no_exception_leaves_nobody_waiting(error):
    executor = Executor(wrong=lambda examples: error("device lost"))
    batcher = Batcher(executor)
    executor.let_go(4)
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*await call(batcher, range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 3
    assert all(error.__name__ in str(outcome) for outcome in outcomes)
    await batcher.close()


class ObservedThreads(ThreadPoolExecutor):
    def __init__(self):
        super().__init__(1)
        self.submitted = asyncio.Event()

    def submit(self, *arguments, **named):
        self.submitted.set()
        return super().submit(*arguments, **named)


async def test_threads_that_are_taken_away_leave_nobody_waiting():
    threads = ObservedThreads()
    hold = threading.Event()
    threads.submit(hold.wait)
    threads.submitted.clear()
    batcher = Batcher(compute, threads=threads)
    tasks = await call(batcher, range(3))
    closing = asyncio.create_task(batcher.close())
    await threads.submitted.wait()  # the batch is behind `hold`
    threads.shutdown(wait=False, cancel_futures=True)
    hold.set()
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await closing
    assert [type(outcome) for outcome in outcomes] == [ModelUnavailable] * 3


@pytest.mark.parametrize("rows", [0, 2])
async def test_executor_that_answers_for_other_than_it_was_asked(rows):
    batcher = Batcher(lambda examples: Scores(*[np.zeros((rows, 2), np.float32)] * 2))
    with pytest.raises(RuntimeError, match=f"batch of 1 with {rows} rows"):
        await batcher.predict(example(0))
    await batcher.close()


async def test_queue_full():
    executor = Executor()
    batcher = Batcher(executor, max_queue_size=2)
    first = await busy(batcher, executor)
    rest = await call(batcher, [1, 2])
    with pytest.raises(QueueFull, match="TRIPTYCH_MAX_QUEUE_SIZE"):
        await batcher.predict(example(3))
    executor.let_go(2)
    await asyncio.gather(first, *rest)
    executor.let_go()
    assert is_answer(await batcher.predict(example(4)), 4)
    await batcher.close()


async def test_close_finishes_the_queue_and_refuses_the_rest():
    executor = Executor()
    batcher = Batcher(executor, max_batch_size=2)
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


async def test_close_does_not_wait_for_the_timeout():
    executor = Executor()
    batcher = Batcher(executor, batch_timeout_seconds=3600)
    tasks = await call(batcher, [1, 2])
    executor.let_go()
    await batcher.close()
    await asyncio.gather(*tasks)
    assert executor.batches == [[1, 2]]


async def test_close_that_is_cancelled_still_finishes_the_queue():
    executor = Executor()
    batcher = Batcher(executor)
    first = await busy(batcher, executor)
    rest = await call(batcher, [1])
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    executor.let_go(2)
    await asyncio.gather(first, *rest)
    await batcher.close()


async def test_close_when_nothing_ever_came():
    await Batcher(compute).close()


async def test_full_batch_does_not_wait_for_the_timeout():
    executor = Executor()
    batcher = Batcher(executor, max_batch_size=3, batch_timeout_seconds=3600)
    two = await call(batcher, [1, 2])
    assert executor.batches == []
    executor.let_go()
    await asyncio.gather(*two, batcher.predict(example(3)))
    assert executor.batches == [[1, 2, 3]]
    await batcher.close()


async def test_timeout_ends_the_waiting():
    batcher = Batcher(compute, batch_timeout_seconds=0.002)
    prediction = await batcher.predict(example(1))
    assert prediction.queue_us >= 1000
    await batcher.close()


async def test_threads_that_are_lent_stay_open():
    with ThreadPoolExecutor(1) as threads:
        batcher = Batcher(compute, threads=threads)
        await batcher.predict(example(1))
        await batcher.close()
        assert threads.submit(lambda: 5).result() == 5


async def test_threads_that_are_shut_down_are_an_error_and_not_a_silence():
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    batcher = Batcher(compute, threads=threads)
    with pytest.raises(RuntimeError, match="shutdown"):
        await batcher.predict(example(1))
    await batcher.close()


async def test_hook_sees_every_batch_and_harms_none():
    seen = []

    def on_batch(size, seconds):
        seen.append((size, seconds > 0))
        raise KeyError(size)

    batcher = Batcher(compute, max_batch_size=2, on_batch=on_batch)
    predictions = await asyncio.gather(*await call(batcher, range(3)))
    assert all(is_answer(prediction, i) for i, prediction in enumerate(predictions))
    await batcher.close()
    assert seen == [(2, True), (1, True)]


@settings(deadline=None)  # threads on a busy machine
@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.integers(0, 4)), max_size=20),
    st.integers(1, 4),
)
def test_everyone_gets_their_own_answer_whoever_leaves(callers, max_batch_size):
    """callers: the length of the example, whether it leaves, and how many turns later."""

    async def caller(batcher, number, length, leaves, turns):
        task = asyncio.create_task(batcher.predict(example(number, (length,))))
        for _ in range(turns):
            await asyncio.sleep(0)
        if leaves:
            task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            return leaves
        return outcome.logits.tolist() == [number * length, -number * length]

    async def everyone():
        batcher = Batcher(compute, max_batch_size=max_batch_size)
        answers = await asyncio.gather(
            *(caller(batcher, number, *row) for number, row in enumerate(callers))
        )
        assert all(answers)
        assert len(batcher) == 0
        await batcher.close()

    asyncio.run(asyncio.wait_for(everyone(), 10))
