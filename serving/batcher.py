"""The asyncio driver of a batch queue: callers await, batches run on an executor.

While batches compute, the next gathers. A lone call is not held back for company, and under
load the batches fill by themselves: latency when it is quiet, throughput when it is not.
"""

import asyncio
import concurrent.futures
import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.batch_queue import BatchQueue
from serving.compute_budget import ComputeBudget
from serving.errors import ModelUnavailable, QueueTimeout
from serving.runtime.endpoint import Tensors
from serving.runtime.executors import Executor

logger = logging.getLogger(__name__)

# asyncio refuses the first in a future, and takes the second for a caller that left.
NOT_FOR_FUTURES = (StopIteration, concurrent.futures.CancelledError)


class Batching(NamedTuple):
    """How one endpoint's calls are joined. `allowed_batch_sizes`: a batch is padded to one."""

    max_batch_size: int = 32
    batch_timeout_seconds: float = 0.0
    max_queue_size: int = 1024
    queue_timeout_seconds: float = math.inf
    allowed_batch_sizes: Sequence[int] = ()


class Prediction(NamedTuple):
    outputs: dict[str, npt.NDArray[Any]]
    queue_us: int
    compute_us: int  # of the whole batch
    batch_size: int


class _Call:
    """Rows of one caller that share a batch. Compared by identity, as a queue's item must be."""

    __slots__ = ("arrival", "future", "inputs", "rows")

    def __init__(
        self, inputs: Tensors, rows: int, future: asyncio.Future[Prediction], arrival: float
    ):
        self.inputs = inputs
        self.rows = rows
        self.future = future
        self.arrival = arrival


class Batcher:
    """Joins the calls of many callers to few runs of an executor.

    Args: batched: False where the endpoint has no batch axis: each call then runs by itself.
          on_batch: called with the rows, and the nanoseconds, of each batch that ran.
    """

    def __init__(
        self,
        executor: Executor,
        batching: Batching,
        *,
        batched: bool = True,
        budget: ComputeBudget | None = None,
        on_batch: Callable[[int, int], None] = lambda rows, nanoseconds: None,
    ):
        self.batching = batching
        self._executor = executor
        self._batched = batched
        self._threads = ThreadPoolExecutor(executor.lanes, "compute")
        self._budget = budget or ComputeBudget(executor.lanes * executor.threads)
        self._on_batch = on_batch
        self._queue: BatchQueue[_Call] = BatchQueue(
            batching.max_batch_size, batching.batch_timeout_seconds, batching.max_queue_size
        )
        self._running: set[asyncio.Task[None]] = set()
        self._wake: asyncio.Handle | None = None
        self._closing = False

    def __len__(self) -> int:
        """Rows that wait for a batch."""
        return len(self._queue)

    async def predict(
        self, inputs: Tensors, *, priority: int = 0, timeout_seconds: float | None = None
    ) -> Prediction:
        """One or many rows, split over batches and joined again where they are too many for one.

        Args:   priority: the lower goes first.
                timeout_seconds: for the wait in the queue; None is the batching's own.
        Raises: QueueFull; QueueTimeout; ModelUnavailable once the batcher closes; what the
                executor raised.
        """
        if self._closing:
            raise ModelUnavailable("this version is being unloaded: send the call again")
        pieces = self._split(inputs)
        self._queue.require_room(sum(rows for _, rows in pieces))
        loop = asyncio.get_running_loop()
        now = loop.time()
        if timeout_seconds is None:
            timeout_seconds = self.batching.queue_timeout_seconds
        calls = [_Call(piece, rows, loop.create_future(), now) for piece, rows in pieces]
        for call in calls:
            self._queue.put(
                call,
                self._shape(call),
                now,
                rows=call.rows,
                priority=priority,
                expires_at=now + timeout_seconds,
            )
        self._schedule(loop, now + timeout_seconds)
        try:
            if len(calls) == 1:
                return await calls[0].future
            return _join([await call.future for call in calls])
        finally:
            for call in calls:  # a caller that leaves takes only itself out
                self._queue.remove(call)
                call.future.cancel()  # or, of several pieces that failed, lets the others be

    async def close(self) -> None:
        """Answer what waits, then let the threads go."""
        self._closing = True
        while self._running or len(self._queue):
            self._dispatch()
            if self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            elif len(self._queue):
                await asyncio.sleep(0.001)  # for other models to give threads back
        self._threads.shutdown(wait=False)

    def _split(self, inputs: Tensors) -> list[tuple[Tensors, int]]:
        if not self._batched:
            return [(inputs, 1)]
        rows = len(next(iter(inputs.values())))
        most = self.batching.max_batch_size
        if rows <= most:
            return [(inputs, rows)]
        return [
            ({name: value[i : i + most] for name, value in inputs.items()}, min(most, rows - i))
            for i in range(0, rows, most)
        ]

    def _shape(self, call: _Call) -> object:
        if not self._batched:
            return call
        return tuple([(name, v.shape[1:], v.dtype) for name, v in call.inputs.items()])

    def _schedule(self, loop: asyncio.AbstractEventLoop, expires_at: float) -> None:
        # Not at once: calls of the same turn of the loop should share a batch. A later wake-up
        # is replaced, since this call may have filled a batch.
        if len(self._running) < self._executor.lanes:
            if isinstance(self._wake, asyncio.TimerHandle):
                self._wake.cancel()
                self._wake = None
            if self._wake is None:
                self._wake = loop.call_soon(self._dispatch)
        elif expires_at < math.inf:  # else the end of a batch is early enough
            self._wake_by(loop, expires_at)

    def _dispatch(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for call in self._queue.expire(now):
            waited = now - call.arrival
            error = QueueTimeout(
                f"it waited {waited:.3f} s for its turn: allow more, or send fewer at once"
            )
            _fail(call, error)
        while len(self._running) < self._executor.lanes and len(self._queue):
            due = self._queue.wake_at()
            if due is None or (due > now and not self._closing):
                break
            if not self._budget.take(self._executor.threads, self._dispatch):
                break
            batch = self._queue.next_batch(now, flush=self._closing)
            if not batch:
                self._budget.give_back(self._executor.threads)
                break
            task = loop.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)
        wake_at = self._queue.wake_at()
        if wake_at is not None and wake_at <= now:
            # It is due, and goes when threads are given back. Who expires before leaves in time.
            wake_at = self._queue.expires_at()
        if wake_at is not None:
            self._wake_by(loop, wake_at)

    def _wake_by(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if isinstance(self._wake, asyncio.TimerHandle) and self._wake.when() <= when:
            return
        if self._wake is None or isinstance(self._wake, asyncio.TimerHandle):
            if self._wake is not None:
                self._wake.cancel()
            self._wake = loop.call_at(when, self._dispatch)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._budget.give_back(self._executor.threads)
        self._dispatch()

    async def _run(self, batch: list[_Call]) -> None:
        try:
            await self._answer(batch)
        finally:
            for call in batch:  # the executor is gone, or the loop ends
                _fail(call, ModelUnavailable("the batch was given up: send the call again"))

    async def _answer(self, batch: list[_Call]) -> None:
        batch = [call for call in batch if not call.future.done()]  # who left in the last moment
        if not batch:
            return
        clock = asyncio.get_running_loop().time
        started = clock()
        rows = sum(call.rows for call in batch)
        try:
            outputs = await self._in_thread(batch, rows)
        except Exception as error:
            if len(batch) > 1:  # one bad example must fail only itself
                for call in batch:
                    await self._answer([call])
            else:
                _fail(batch[0], error)
            return
        nanoseconds = round((clock() - started) * 1e9)
        first = 0
        for call in batch:
            if not call.future.done():  # cancelled while the batch ran
                mine = outputs
                if self._batched:
                    mine = {name: v[first : first + call.rows] for name, v in outputs.items()}
                queue_us = round((started - call.arrival) * 1e6)
                call.future.set_result(Prediction(mine, queue_us, nanoseconds // 1000, rows))
            first += call.rows
        try:
            self._on_batch(rows, nanoseconds)
        except Exception:
            logger.exception("a batch was answered, but not counted")

    def _padding(self, rows: int) -> int:
        sizes = self.batching.allowed_batch_sizes if self._batched else ()
        return sizes[bisect_left(sizes, rows)] - rows if sizes and rows <= sizes[-1] else 0

    async def _in_thread(self, batch: list[_Call], rows: int) -> dict[str, npt.NDArray[Any]]:
        """As `run_in_executor`, at half its cost."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[dict[str, npt.NDArray[Any]]] = loop.create_future()
        each = [call.inputs for call in batch]
        padding = self._padding(rows)

        def settle(outputs: dict[str, npt.NDArray[Any]] | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(outputs or {})
            else:
                future.set_exception(error)

        def work() -> None:
            outputs, error = None, None
            try:
                outputs = self._compute(each, rows, padding)
            except Exception as raised:
                error = raised
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(settle, outputs, error)

        self._threads.submit(work)
        return await future

    def _compute(
        self, each: Sequence[Tensors], rows: int, padding: int
    ) -> dict[str, npt.NDArray[Any]]:
        """In a thread, where joining large examples holds up nobody.

        Whatever is wrong is raised here: on the loop it would leave callers without an answer.
        """
        alone = len(each) == 1 and not padding
        inputs = each[0] if alone else _concatenate(each, padding)  # alone: not copied
        try:
            outputs = self._executor.run(inputs)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, NOT_FOR_FUTURES):
                raise
            raise RuntimeError(f"the executor raised {type(error).__name__}: {error}") from error
        if self._batched:
            _require_rows(outputs, rows + padding)
        return outputs


def _fail(call: _Call, error: Exception) -> None:
    if not call.future.done():
        call.future.set_exception(error)


def _require_rows(outputs: Tensors, rows: int) -> None:
    for name, value in outputs.items():
        if value.ndim == 0 or len(value) != rows:
            found = len(value) if value.ndim else "no"
            raise RuntimeError(
                f"the executor answered a batch of {rows} with {found} rows of {name}"
            )


def _concatenate(each: Sequence[Tensors], padding: int) -> Tensors:
    """Padding repeats the last row, which computes what rows do, and is cut off afterwards."""
    joined = {}
    for name, last in each[-1].items():
        parts = [inputs[name] for inputs in each]
        joined[name] = np.concatenate([*parts, *[last[-1:]] * padding])
    return joined


def _join(predictions: Sequence[Prediction]) -> Prediction:
    names = predictions[0].outputs
    return Prediction(
        {name: np.concatenate([p.outputs[name] for p in predictions]) for name in names},
        max(p.queue_us for p in predictions),
        sum(p.compute_us for p in predictions),
        max(p.batch_size for p in predictions),
    )
