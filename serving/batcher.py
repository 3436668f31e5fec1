"""The asyncio driver of a batch scheduler: callers await, batches run on an executor, in threads.

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

import numpy as np

from serving.batch import Batch, Call, Prediction, Run
from serving.batch_scheduler import Batching, BatchScheduler
from serving.compute_budget import ComputeBudget
from serving.errors import ModelUnavailable, QueueTimeout
from serving.runtime.affinity import WAITING, give_way_anywhere, join
from serving.runtime.endpoint import Tensors
from serving.runtime.executors import Executor

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 0.05  # whether the batcher closes, or its load is gone


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
        if executor.queues:
            # They wait. Of a call that is alone one computes a part: where the loop has left what
            # it read, and is asleep.
            self._threads = ThreadPoolExecutor(executor.lanes + 1, WAITING, initializer=join)
        else:
            self._threads = ThreadPoolExecutor(
                executor.lanes, "compute", initializer=give_way_anywhere
            )
        self._budget = budget or ComputeBudget(executor.lanes * executor.threads)
        self._scheduler = BatchScheduler(executor, batching, self._budget, batched=batched)
        # Over the scheduler: who has computed a batch takes the next, without waiting for the loop.
        self._lock = threading.Lock()
        self._told = threading.Condition(self._lock)  # a batch has its lane, or its callers know
        self._on_batch = on_batch
        self._goes_ahead = False  # a thread waits until it is early enough to
        self._wake: asyncio.Handle | None = None
        self._wake_at = -math.inf  # of the clock that is asked here: uvloop's own has milliseconds
        self._changed = asyncio.Event()  # something ended or left, which only `close` waits for

    def __len__(self) -> int:
        """Rows that wait for a batch."""
        return len(self._scheduler)

    @property
    def has_free_lane(self) -> bool:
        return self._scheduler.has_free_lane

    def share_of(self, rows: int) -> int:
        """A lane's, of so many: half to compute, half to gather."""
        return self._scheduler.share_of(rows)

    async def predict(
        self, inputs: Tensors, *, priority: int = 0, timeout_seconds: float | None = None
    ) -> Prediction:
        """One or many rows, split over batches and joined again where they are too many for one.

        Args:   priority: the lower goes first.
                timeout_seconds: for the wait in the queue; None is the batching's own.
        Raises: QueueFull; QueueTimeout; ModelUnavailable once the batcher closes; what the
                executor raised.
        """
        if self._scheduler.closing:
            raise ModelUnavailable("this version is being unloaded: send the call again")
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        if timeout_seconds is None:
            timeout_seconds = self.batching.queue_timeout_seconds
        expires_at = now + timeout_seconds
        calls = [
            Call(piece, rows, loop.create_future(), now, expires_at)
            for piece, rows in self._split(inputs)
        ]
        with self._lock:
            self._scheduler.put(calls, now, priority)
            is_wanted = self._scheduler.has_free_lane or self._is_one_wanted_ahead(now)
        if is_wanted:
            # Not at once: calls of the same turn of the loop should share a batch. A later wake-up
            # is replaced, since this call may have filled a batch.
            self._wake_by(loop, -math.inf)
        elif expires_at < math.inf:  # else the end of a batch is early enough
            self._wake_by(loop, expires_at)
        try:
            if len(calls) == 1:
                return await calls[0].future
            return _join([await call.future for call in calls])
        finally:
            with self._lock:
                for call in calls:  # a caller that leaves takes only itself out
                    self._scheduler.remove(call)
                    call.future.cancel()  # or, of several pieces that failed, lets the others be
            self._changed.set()

    async def close(self) -> None:
        """Answer what waits, then let the threads go."""
        self._scheduler.closing = True
        self._dispatch()
        while not self._scheduler.is_idle:
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

    def _dispatch(self, answered: int = 0) -> None:
        """answered: rows of a batch that has just ended."""
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        begun = []
        with self._lock:
            self._expire(loop, now)
            while batch := self._scheduler.begin(now, answered, self._dispatch):
                begun.append(batch)
            is_one_wanted_ahead = self._is_one_wanted_ahead(now, answered)
            wake_at = self._scheduler.wake_at(now)
        for batch in begun:
            self._start(loop, batch)
        if is_one_wanted_ahead:
            with suppress(RuntimeError):  # not one thread more can be started
                self._threads.submit(self._work, loop)
        if wake_at is not None:
            self._wake_by(loop, wake_at)

    def _start(self, loop: asyncio.AbstractEventLoop, batch: Batch) -> None:
        try:
            # Who was alone looks for no other: the loop is to answer, and has the lock at once.
            self._threads.submit(self._compute if batch.alone else self._work, loop, batch)
        except RuntimeError as error:  # not one thread can be started
            lost = ModelUnavailable(f"no thread computes ({error}): send the call again")
            runs = [Run([call], [], lost, 0, 0.0) for call in batch.calls]
            loop.call_soon(self._ended, batch, runs)

    def _is_one_wanted_ahead(self, now: float, answered: int = 0) -> bool:
        """With the lock."""
        return not self._goes_ahead and self._scheduler.seconds_to_early(now, answered) < math.inf

    def _expire(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """With the lock."""
        for call in self._scheduler.expire(now):
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_fail, call, _expired(call, now))

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
            self._told.wait_for(lambda: batch.threads)
            try:
                now = time.monotonic()
                self._scheduler.end(batch, sum(run.seconds for run in runs), now)
                # A batch at a time, or who asks by way of the loop would never have a turn.
                if before is not None and not self._scheduler.is_told(before):
                    return None
                self._expire(loop, now)
                return self._scheduler.follow(batch, now)
            finally:
                with suppress(RuntimeError):  # the loop has ended, and nobody waits
                    loop.call_soon_threadsafe(self._ended, batch, runs)
                self._told.notify_all()

    def _go_ahead(self, loop: asyncio.AbstractEventLoop) -> Batch | None:
        """The batch for the next lane that will be free, shortly before; None if it has no use."""
        with self._lock:
            if self._goes_ahead:
                return None
            self._goes_ahead = True
        try:
            while True:
                with self._lock:
                    now = time.monotonic()
                    seconds = self._scheduler.seconds_to_early(now)
                    if seconds == math.inf:
                        return None
                    if seconds <= 0:
                        self._expire(loop, now)
                        return self._scheduler.go_ahead(now)
                time.sleep(min(seconds, LOOK_AGAIN_SECONDS))
        finally:
            self._goes_ahead = False

    def _ended(self, batch: Batch, runs: Sequence[Run]) -> None:
        with self._lock:
            self._scheduler.leave(batch, time.monotonic())
            self._told.notify_all()
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
