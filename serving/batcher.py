"""The asyncio driver of a batch queue: callers await, batches run on an executor.

While batches compute, the next gathers. A lone call is not held back for company, and under
load the batches fill by themselves: latency when it is quiet, throughput when it is not.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from serving.batch import Batch, Call, Prediction, Run
from serving.batch_queue import BatchQueue
from serving.compute_budget import ComputeBudget
from serving.errors import ModelUnavailable, QueueTimeout
from serving.lanes import Lanes
from serving.runtime.affinity import WAITING, give_way_anywhere, join
from serving.runtime.endpoint import Tensors
from serving.runtime.executors import Executor

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 0.05  # whether the batcher closes, or its load is gone


class Batching(NamedTuple):
    """How one endpoint's calls are joined. `allowed_batch_sizes`: a batch is padded to one."""

    max_batch_size: int = 32
    batch_timeout_seconds: float = 0.0
    max_queue_size: int = 1024
    queue_timeout_seconds: float = math.inf
    allowed_batch_sizes: Sequence[int] = ()

    @property
    def sizes(self) -> Sequence[int]:
        """That shares are rounded up to: those that are allowed, else powers of two."""
        powers = [1 << n for n in range((self.max_batch_size - 1).bit_length())]
        return self.allowed_batch_sizes or [*powers, self.max_batch_size]


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
        self._sizes = batching.sizes
        self._executor = executor
        self._batched = batched
        if executor.queues:
            # They wait. Of a call that is alone one computes a part: where the loop has left what
            # it read, and is asleep.
            self._threads = ThreadPoolExecutor(executor.lanes + 1, WAITING, initializer=join)
        else:
            self._threads = ThreadPoolExecutor(
                executor.lanes, "compute", initializer=give_way_anywhere
            )
        self._budget = budget or ComputeBudget(executor.lanes * executor.threads)
        self._on_batch = on_batch
        self._queue: BatchQueue[Call] = BatchQueue(
            batching.max_batch_size, batching.batch_timeout_seconds, batching.max_queue_size
        )
        self._lanes = Lanes(executor)
        # Over both: who has computed a batch takes the next itself, without waiting for the loop.
        self._lock = threading.Condition(threading.Lock())
        self._goes_ahead = False  # a thread waits until it is early enough to
        self._wake: asyncio.Handle | None = None
        self._wake_at = -math.inf  # of the clock that is asked here: uvloop's own has milliseconds
        self._closing = False
        self._changed = asyncio.Event()  # something ended or left, which only `close` waits for

    def __len__(self) -> int:
        """Rows that wait for a batch."""
        return len(self._queue)

    @property
    def has_free_lane(self) -> bool:
        return self._lanes.has_free

    def share_of(self, rows: int) -> int:
        """A lane's, of so many: half to compute, half to gather."""
        return math.ceil(rows / (2 * self._executor.lanes))

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
        now = time.monotonic()
        if timeout_seconds is None:
            timeout_seconds = self.batching.queue_timeout_seconds
        expires_at = now + timeout_seconds
        calls = [Call(piece, rows, loop.create_future(), now, expires_at) for piece, rows in pieces]
        with self._lock:
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
            with self._lock:
                for call in calls:  # a caller that leaves takes only itself out
                    self._queue.remove(call)
                    call.future.cancel()  # or, of several pieces that failed, lets the others be
            self._changed.set()

    async def close(self) -> None:
        """Answer what waits, then let the threads go."""
        self._closing = True
        self._dispatch()
        while len(self._lanes) or len(self._queue):
            self._changed.clear()
            await self._changed.wait()
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

    def _shape(self, call: Call) -> object:
        if not self._batched:
            return call
        return tuple([(name, v.shape[1:], v.dtype) for name, v in call.inputs.items()])

    def _schedule(self, loop: asyncio.AbstractEventLoop, expires_at: float) -> None:
        if self._lanes.has_free or self._is_one_wanted_ahead():
            # Not at once: calls of the same turn of the loop should share a batch. A later wake-up
            # is replaced, since this call may have filled a batch.
            self._wake_by(loop, -math.inf)
        elif expires_at < math.inf:  # else the end of a batch is early enough
            self._wake_by(loop, expires_at)

    def _dispatch(self, answered: int = 0) -> None:
        """answered: rows of a batch that has just ended."""
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        with self._lock:
            self._expire(loop, now)
        while len(self._queue) and self._begin(loop, now, answered):
            pass
        if self._is_one_wanted_ahead(answered):
            with suppress(RuntimeError):  # not one thread more can be started
                self._threads.submit(self._work, loop)
        with self._lock:
            wake_at = self._queue.wake_at()
            if wake_at is not None and wake_at <= now:
                # It is due, and goes when a lane or threads are given back. Who expires before
                # leaves in time.
                wake_at = self._queue.expires_at()
        if wake_at is not None:
            self._wake_by(loop, wake_at)

    def _begin(self, loop: asyncio.AbstractEventLoop, now: float, answered: int) -> bool:
        """The batch that is due, in a lane that is free.

        A call that is alone has the threads of all lanes, for the sake of its latency.
        """
        with self._lock:
            due = self._queue.wake_at()
            if due is None or (due > now and not self._closing) or not self._lanes.has_free:
                return False
            most = self._most_rows(answered)
            is_all = len(self._queue) <= most or self._queue.items == 1
            alone = is_all and not len(self._lanes) and self._budget.idle
            threads = self._executor.threads * (self._executor.lanes if alone else 1)
            if not self._budget.take(threads, self._dispatch):
                return False
            batch = self._take(loop, now, most, threads, alone)
        if batch is None:
            self._budget.give_back(threads)
            return False
        try:
            if alone:
                self._threads.submit(self._compute, loop, batch)
            else:
                self._threads.submit(self._work, loop, batch)
        except RuntimeError as error:  # not one thread can be started
            lost = ModelUnavailable(f"no thread computes ({error}): send the call again")
            runs = [Run([call], [], lost, 0, 0.0) for call in batch.calls]
            loop.call_soon(self._ended, batch, runs)
        return True

    def _is_one_wanted_ahead(self, answered: int = 0) -> bool:
        with self._lock:
            return not self._goes_ahead and self._seconds_to_early(answered) < math.inf

    def _seconds_to_early(self, answered: int = 0) -> float:
        """Until a batch may be taken ahead; infinite where it had no use. With the lock."""
        seconds = self._lanes.seconds_to_early(time.monotonic())
        if seconds == math.inf or self._budget.wanted:
            return math.inf
        return seconds if len(self._queue) >= self._most_rows(answered) else math.inf

    def _expire(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """With the lock."""
        for call in self._queue.expire(now):
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_fail, call, _expired(call, now))

    def _take(
        self,
        loop: asyncio.AbstractEventLoop,
        now: float,
        most: int,
        threads: int,
        alone: bool = False,
    ) -> Batch | None:
        """The next one, of those who can still wait. With the lock. threads: 0 to go ahead."""
        self._expire(loop, now)
        calls = self._queue.next_batch(now, flush=self._closing, most=most)
        if not calls:
            return None
        sizes = self.batching.allowed_batch_sizes
        batch = Batch(calls, batched=self._batched, sizes=sizes, alone=alone, threads=threads)
        self._lanes.take(batch, now)
        return batch

    def _most_rows(self, answered: int = 0) -> int:
        """Of the next batch: each lane's share of what is here.

        If one took all, the other lanes had nothing to do; and then all callers were answered, and
        sent their next, at once. Those just `answered` count as still here, as they come again.
        Who waits for full batches gets them full. Rounded up to one of few sizes: an executor
        prepares itself anew where a batch has not the last one's size.
        """
        most = self.batching.max_batch_size
        if self.batching.batch_timeout_seconds:
            return most
        rows = len(self._queue) + self._lanes.rows + answered
        share = self.share_of(rows)
        return min((size for size in self._sizes if size >= share), default=most)

    def _work(self, loop: asyncio.AbstractEventLoop, batch: Batch | None = None) -> None:
        """In a thread: batches, as long as there is one to be computed next."""
        before: Batch | None = None
        while True:
            batch = batch or self._go_ahead(loop)
            if batch is None:
                return
            before, batch = batch, self._compute(loop, batch, before)

    def _compute(
        self, loop: asyncio.AbstractEventLoop, batch: Batch, before: Batch | None = None
    ) -> Batch | None:
        """In a thread. before: in the same. Returns: the next one in its lane."""
        runs = batch.run(self._executor)
        with self._lock:
            # After who had the lane, so that answers keep to the queue's order.
            self._lock.wait_for(lambda: batch.threads)
            try:
                self._lanes.end(batch, sum(run.seconds for run in runs), time.monotonic())
                # A batch at a time, or who asks by way of the loop would never have a turn.
                is_loop_behind = before is not None and not self._lanes.is_told(before)
                return None if is_loop_behind else self._next(loop, batch)
            finally:
                with suppress(RuntimeError):  # the loop has ended, and nobody waits
                    loop.call_soon_threadsafe(self._ended, batch, runs)
                self._lock.notify_all()

    def _next(self, loop: asyncio.AbstractEventLoop, ended: Batch) -> Batch | None:
        """With the lock."""
        if not ended.threads or ended.alone or self._budget.wanted or not len(self._queue):
            return None
        batch = self._take(loop, time.monotonic(), self._most_rows(), ended.threads)
        if batch is not None:
            ended.threads = 0
        return batch

    def _go_ahead(self, loop: asyncio.AbstractEventLoop) -> Batch | None:
        """The batch for the next lane that will be free, shortly before; None if it has no use."""
        with self._lock:
            if self._goes_ahead:
                return None
            self._goes_ahead = True
        try:
            while True:
                with self._lock:
                    seconds = self._seconds_to_early()
                    if seconds == math.inf:
                        return None
                    if seconds <= 0:
                        now = time.monotonic()
                        return self._take(loop, now, self._most_rows(), threads=0)
                time.sleep(min(seconds, LOOK_AGAIN_SECONDS))
        finally:
            self._goes_ahead = False

    def _ended(self, batch: Batch, runs: Sequence[Run]) -> None:
        with self._lock:
            self._lanes.leave(batch, time.monotonic())
            self._lock.notify_all()
        try:
            if self._budget.wanted:
                self._dispatch()  # asks before it gives, or the others had two turns for its one
            self._budget.give_back(batch.threads)
            # First: a lane that is idle costs more than callers that wait.
            self._dispatch(answered=batch.rows)
        finally:
            for run in runs:
                self._answer(run)
            self._changed.set()

    def _wake_by(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._wake is not None:
            if self._wake_at <= when:
                return
            self._wake.cancel()
        self._wake_at = when
        delay = when - time.monotonic()
        if delay > 0:
            self._wake = loop.call_later(delay, self._dispatch)
        else:
            self._wake = loop.call_soon(self._dispatch)

    def _answer(self, run: Run) -> None:
        if run.error is not None:
            _fail(run.calls[0], run.error)
            return
        for call, answer in zip(run.calls, run.answers, strict=True):
            if not call.future.done():  # cancelled while the batch ran
                call.future.set_result(answer)
        try:
            self._on_batch(run.rows, round(run.seconds * 1e9))
        except Exception:
            logger.exception("a batch was answered, but not counted")


def _expired(call: Call, now: float) -> QueueTimeout:
    return QueueTimeout(
        f"it waited {now - call.arrival:.3f} s for its turn: allow more, or send fewer at once"
    )


def _fail(call: Call, error: Exception) -> None:
    if not call.future.done():
        call.future.set_exception(error)


def _join(predictions: Sequence[Prediction]) -> Prediction:
    names = predictions[0].outputs
    return Prediction(
        {name: np.concatenate([p.outputs[name] for p in predictions]) for name in names},
        max(p.queue_us for p in predictions),
        sum(p.compute_us for p in predictions),
        max(p.batch_size for p in predictions),
    )
