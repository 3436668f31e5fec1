"""The asyncio driver of a batch queue: callers await, batches run in a thread.

While one batch computes, the next gathers. A lone call is not held back for company, and under
load the batches fill by themselves: latency when it is quiet, throughput when it is not.
"""

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.batch_queue import BatchQueue
from serving.errors import ModelUnavailable
from serving.runtime.executors import Scores

logger = logging.getLogger(__name__)

# asyncio refuses the first in a future, and takes the second for a caller that left.
NOT_FOR_FUTURES = (StopIteration, concurrent.futures.CancelledError)


class Prediction(NamedTuple):
    scores: npt.NDArray[np.float32]  # [K]
    logits: npt.NDArray[np.float32]  # [K]
    queue_us: int
    predict_us: int  # of the whole batch


class _Call:
    """One caller's example. Compared by identity, as a queue's item must be."""

    def __init__(self, example: npt.NDArray[Any], future: asyncio.Future[Prediction], now: float):
        self.example = example
        self.future = future
        self.arrival = now


class Batcher:
    """Joins the calls of many callers to one `predict` at a time.

    Args: predict: blocking, [B, ...] -> Scores.
          threads: where it runs; by default a thread of the batcher's own.
          on_batch: called with the size and the seconds of each batch that ran.
    """

    def __init__(
        self,
        predict: Callable[[npt.NDArray[Any]], Scores],
        *,
        max_batch_size: int = 32,
        batch_timeout_seconds: float = 0.0,
        max_queue_size: int = 1024,
        threads: ThreadPoolExecutor | None = None,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        self._predict = predict
        self._queue: BatchQueue[_Call] = BatchQueue(
            max_batch_size, batch_timeout_seconds, max_queue_size
        )
        self._own_threads = threads is None
        self._threads = threads or ThreadPoolExecutor(1, "predict")
        self._on_batch = on_batch
        self._running: asyncio.Task[None] | None = None
        self._wake: asyncio.Handle | None = None
        self._closing = False

    def __len__(self) -> int:
        """Calls that wait for a batch."""
        return len(self._queue)

    async def predict(self, example: npt.NDArray[Any]) -> Prediction:
        """One example, no batch axis.

        Raises: QueueFull; ModelUnavailable once the batcher closes; what `predict` raised.
        """
        if self._closing:
            raise ModelUnavailable("this version is being unloaded: send the call again")
        loop = asyncio.get_running_loop()
        call = _Call(example, loop.create_future(), time.monotonic())
        self._queue.put(call, (example.shape, example.dtype.str), call.arrival)
        self._schedule(loop)
        try:
            return await call.future
        finally:
            self._queue.remove(call)  # a caller that leaves takes only itself out

    async def close(self) -> None:
        """Answer what waits, then let the thread go."""
        self._closing = True
        while self._running or len(self._queue):
            self._dispatch()
            if self._running:
                await asyncio.wait([self._running])
        if self._own_threads:
            self._threads.shutdown(wait=False)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not at once: calls of the same turn of the loop should share a batch. A later wake-up
        # is replaced, since this call may have filled a batch.
        if self._running is None:
            if self._wake is not None:
                self._wake.cancel()
            self._wake = loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._running is not None:
            return
        now = time.monotonic()
        batch = self._queue.next_batch(now, flush=self._closing)
        loop = asyncio.get_running_loop()
        if batch:
            self._running = loop.create_task(self._run(batch))
        elif (due := self._queue.wake_at()) is not None:
            self._wake = loop.call_later(max(0.0, due - now), self._dispatch)

    async def _run(self, batch: list[_Call]) -> None:
        try:
            await self._answer(batch)
        finally:
            for call in batch:
                if not call.future.done():  # the threads are gone, or the loop ends
                    call.future.set_exception(
                        ModelUnavailable("the batch was given up: send the call again")
                    )
            self._running = None
            self._dispatch()

    async def _answer(self, batch: list[_Call]) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        examples = [call.example for call in batch]
        try:
            scores = await loop.run_in_executor(self._threads, self._compute, examples)
        except Exception as error:
            if len(batch) > 1:  # one bad example must fail only itself
                for call in batch:
                    if not call.future.done():
                        await self._answer([call])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        seconds = time.monotonic() - started
        for i, call in enumerate(batch):
            if not call.future.done():  # cancelled while the batch ran
                queue_us = round((started - call.arrival) * 1e6)
                call.future.set_result(
                    Prediction(scores.scores[i], scores.logits[i], queue_us, round(seconds * 1e6))
                )
        try:
            self._on_batch(len(batch), seconds)
        except Exception:
            logger.exception("a batch was answered, but not counted")

    def _compute(self, examples: list[npt.NDArray[Any]]) -> Scores:
        """In the thread, where stacking large examples holds up nobody.

        Whatever is wrong is raised here: on the loop it would leave callers without an answer.
        """
        try:
            scores = self._predict(np.stack(examples))
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, NOT_FOR_FUTURES):
                raise
            raise RuntimeError(f"the executor raised {type(error).__name__}: {error}") from error
        if not len(scores.scores) == len(scores.logits) == len(examples):
            raise RuntimeError(
                f"the executor answered a batch of {len(examples)} with {len(scores.scores)} rows"
                f" of scores and {len(scores.logits)} of logits"
            )
        return scores
