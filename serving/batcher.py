"""The asyncio driver of a batch queue: callers await, batches run on an executor.

While batches compute, the next gathers. A lone call is not held back for company, and under
load the batches fill by themselves: latency when it is quiet, throughput when it is not.
"""

import asyncio
import concurrent.futures
import logging
import math
import time
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
from serving.runtime.priority import give_way

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

    __slots__ = ("arrival", "expires_at", "future", "inputs", "rows")

    def __init__(
        self,
        inputs: Tensors,
        rows: int,
        future: asyncio.Future[Prediction],
        arrival: float,
        expires_at: float,
    ):
        self.inputs = inputs
        self.rows = rows
        self.future = future
        self.arrival = arrival
        self.expires_at = expires_at


class _Ran(NamedTuple):
    """What became of a batch in its thread. calls: those who were still there when it began."""

    calls: list[_Call]
    outputs: dict[str, npt.NDArray[Any]]
    began: float
    seconds: float
    error: Exception | None


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
        self._threads = ThreadPoolExecutor(executor.lanes, "compute", initializer=give_way)
        self._budget = budget or ComputeBudget(executor.lanes * executor.threads)
        self._on_batch = on_batch
        self._queue: BatchQueue[_Call] = BatchQueue(
            batching.max_batch_size, batching.batch_timeout_seconds, batching.max_queue_size
        )
        self._running: dict[asyncio.Task[None], int] = {}  # -> the threads that it was given
        # A batch in line for the first lane to end, and who is in it.
        self._next: asyncio.Task[None] | None = None
        self._in_line: list[_Call] = []
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
        expires_at = now + timeout_seconds
        calls = [
            _Call(piece, rows, loop.create_future(), now, expires_at) for piece, rows in pieces
        ]
        for call in calls:
            self._queue.put(
                call,
                self._shape(call),
                now,
                rows=call.rows,
                priority=priority,
                expires_at=expires_at,
            )
        self._schedule(loop, expires_at)
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
        if len(self._running) <= self._executor.lanes:
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
        late = [call for call in self._in_line if call.expires_at <= now]
        for call in [*late, *self._queue.expire(now)]:
            _fail(call, _expired(call, now))
        begun = False
        while len(self._queue):
            due = self._queue.wake_at()
            if due is None or (due > now and not self._closing):
                break
            # Not in line and on a lane in one go: another model may be about to ask.
            if not self._begin(loop, now, may_stand_in_line=not begun):
                break
            begun = True
        wake_at = self._queue.wake_at()
        if wake_at is not None and wake_at <= now:
            # It is due, and goes when threads are given back. Who expires before leaves in time.
            wake_at = self._queue.expires_at()
        soonest = min((call.expires_at for call in self._in_line), default=math.inf)
        if now < soonest < math.inf:
            wake_at = soonest if wake_at is None else min(wake_at, soonest)
        if wake_at is not None:
            self._wake_by(loop, wake_at)

    def _begin(self, loop: asyncio.AbstractEventLoop, now: float, may_stand_in_line: bool) -> bool:
        """A batch, if it may: on a lane, or in line for one, which then need not wait for the loop.

        A call that is alone has the threads of all lanes, for the sake of its latency.
        """
        lanes, threads = self._executor.lanes, self._executor.threads
        waiting, most = len(self._queue), self._queue.max_batch_size
        alone = not self._running and waiting <= most and self._budget.idle
        if len(self._running) < lanes:
            threads *= lanes if alone else 1
            if not self._budget.take(threads, self._dispatch):
                return False
        elif may_stand_in_line and not self._next and waiting >= most and not self._budget.wanted:
            threads = 0  # until it takes over those of the batch that ends
        else:
            return False
        batch = self._queue.next_batch(now, flush=self._closing)
        if not batch:
            self._budget.give_back(threads)
            return False
        task = loop.create_task(self._run(batch, alone))
        self._running[task] = threads
        if not threads:
            self._next, self._in_line = task, batch
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        threads = self._running.pop(task)
        if task is not self._next and self._next is not None:
            self._running[self._next], threads = threads, 0
        if threads == 0:
            self._next, self._in_line = None, []
        self._budget.give_back(threads)
        self._dispatch()

    def _wake_by(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if isinstance(self._wake, asyncio.TimerHandle) and self._wake.when() <= when:
            return
        if self._wake is None or isinstance(self._wake, asyncio.TimerHandle):
            if self._wake is not None:
                self._wake.cancel()
            self._wake = loop.call_at(when, self._dispatch)

    async def _run(self, batch: list[_Call], alone: bool) -> None:
        try:
            await self._answer(batch, alone)
        finally:
            for call in batch:  # the executor is gone, or the loop ends
                _fail(call, ModelUnavailable("the batch was given up: send the call again"))

    async def _answer(self, batch: list[_Call], alone: bool = False) -> None:
        ran = await self._in_thread(batch, alone)
        if ran.error is not None:
            if len(ran.calls) > 1:  # one bad example must fail only itself
                for call in ran.calls:
                    await self._answer([call])
            else:
                _fail(ran.calls[0], ran.error)
            return
        if not ran.calls:
            return
        rows = sum(call.rows for call in ran.calls)
        compute_us = round(ran.seconds * 1e6)
        first = 0
        for call in ran.calls:
            if not call.future.done():  # cancelled while the batch ran
                mine = ran.outputs
                if self._batched:
                    mine = {n: value[first : first + call.rows] for n, value in mine.items()}
                queue_us = round((ran.began - call.arrival) * 1e6)
                call.future.set_result(Prediction(mine, queue_us, compute_us, rows))
            first += call.rows
        try:
            self._on_batch(rows, round(ran.seconds * 1e9))
        except Exception:
            logger.exception("a batch was answered, but not counted")

    def _padding(self, rows: int) -> int:
        sizes = self.batching.allowed_batch_sizes if self._batched else ()
        return sizes[bisect_left(sizes, rows)] - rows if sizes and rows <= sizes[-1] else 0

    async def _in_thread(self, batch: list[_Call], alone: bool) -> _Ran:
        """As `run_in_executor`, at half its cost."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Ran] = loop.create_future()

        def settle(ran: _Ran) -> None:
            if not future.done():
                future.set_result(ran)

        def work() -> None:
            ran = self._compute(batch, alone)
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(settle, ran)

        self._threads.submit(work)
        return await future

    def _compute(self, batch: list[_Call], alone: bool) -> _Ran:
        """In a thread, where joining large examples holds up nobody.

        Whatever is wrong is said here: on the loop it would leave callers without an answer.
        """
        began = time.monotonic()
        calls = [call for call in batch if not call.future.done()]  # who did not leave in line
        outputs: dict[str, npt.NDArray[Any]] = {}
        error: Exception | None = None
        if calls:
            rows = sum(call.rows for call in calls)
            parts = [call.inputs for call in calls]
            padding = self._padding(rows)
            if padding:  # computes what rows do, and is cut off afterwards
                last = {name: value[-1:] for name, value in parts[-1].items()}
                parts += [last] * padding
            try:
                outputs = self._executor.run(*parts, alone=alone)
                if self._batched:
                    _require_rows(outputs, rows + padding)
            except BaseException as raised:
                error = raised if isinstance(raised, Exception) else None
                if error is None or isinstance(error, NOT_FOR_FUTURES):
                    error = RuntimeError(f"the executor raised {type(raised).__name__}: {raised}")
                    error.__cause__ = raised
        return _Ran(calls, outputs, began, time.monotonic() - began, error)


def _expired(call: _Call, now: float) -> QueueTimeout:
    return QueueTimeout(
        f"it waited {now - call.arrival:.3f} s for its turn: allow more, or send fewer at once"
    )


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


def _join(predictions: Sequence[Prediction]) -> Prediction:
    names = predictions[0].outputs
    return Prediction(
        {name: np.concatenate([p.outputs[name] for p in predictions]) for name in names},
        max(p.queue_us for p in predictions),
        sum(p.compute_us for p in predictions),
        max(p.batch_size for p in predictions),
    )
