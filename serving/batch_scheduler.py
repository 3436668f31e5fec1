"""What is computed next: which calls share a batch, in which lane, and with how many threads.

A call that is alone has the threads of all lanes, for the sake of its latency. Under load each lane
takes its share of what is here, and one batch more goes ahead.

No locks, no threads, no clock: all are the batcher's, and the time is a number that is passed in.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from serving.batch import Batch, Call
from serving.batch_queue import BatchQueue
from serving.compute_budget import ComputeBudget
from serving.lanes import Lanes
from serving.runtime.executors import Executor


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


class BatchScheduler:
    """`expire` before anything is taken: who can wait no longer is in no batch.

    Args: batched: False where the endpoint has no batch axis: each call then runs by itself.
    """

    def __init__(
        self,
        executor: Executor,
        batching: Batching,
        budget: ComputeBudget,
        *,
        batched: bool,
    ) -> None:
        self._executor = executor
        self._batching = batching
        self._sizes = batching.sizes
        self._budget = budget
        self._batched = batched
        self._queue: BatchQueue[Call] = BatchQueue(
            batching.max_batch_size, batching.batch_timeout_seconds, batching.max_queue_size
        )
        self._lanes = Lanes(executor)
        self.closing = False  # whatever waits is due

    def __len__(self) -> int:
        """Rows that wait for a batch."""
        return len(self._queue)

    @property
    def is_idle(self) -> bool:
        return not len(self._queue) and not len(self._lanes)

    @property
    def has_free_lane(self) -> bool:
        return self._lanes.has_free

    def share_of(self, rows: int) -> int:
        """A lane's, of so many: half to compute, half to gather."""
        return math.ceil(rows / (2 * self._executor.lanes))

    def put(self, calls: Sequence[Call], now: float, priority: int) -> None:
        """All of one caller. Raises: QueueFull."""
        self._queue.require_room(sum(call.rows for call in calls))
        for call in calls:
            self._queue.put(
                call,
                self._shape(call),
                now,
                rows=call.rows,
                priority=priority,
                expires_at=call.expires_at,
            )

    def remove(self, call: Call) -> None:
        self._queue.remove(call)

    def expire(self, now: float) -> Sequence[Call]:
        """Takes out those that have waited too long."""
        return self._queue.expire(now)

    def wake_at(self, now: float) -> float | None:
        """When to `begin`, or to `expire`, if nothing ends before."""
        wake_at = self._queue.wake_at()
        if wake_at is not None and wake_at <= now:
            # It is due, and goes when a lane or threads are given back. Who expires before
            # leaves in time.
            return self._queue.expires_at()
        return wake_at

    def begin(self, now: float, answered: int, again: Callable[[], None]) -> Batch | None:
        """The batch that is due, in a lane that is free.

        Args: answered: as for `seconds_to_early`.
              again: called, once, when the budget has the threads that it lacks now.
        """
        due = self._queue.wake_at()
        if due is None or (due > now and not self.closing) or not self._lanes.has_free:
            return None
        most = self._most_rows(answered)
        is_all = len(self._queue) <= most or self._queue.items == 1
        alone = is_all and self._budget.idle
        threads = self._executor.threads * (self._executor.lanes if alone else 1)
        if not self._budget.take(threads, again):
            return None
        return self._take(now, most, threads, alone)

    def seconds_to_early(self, now: float, answered: int = 0) -> float:
        """Until one may `go_ahead`; infinite where that had no use.

        Args: answered: rows of a batch that has just ended. They count as still here, as those
              who sent them come again.
        """
        seconds = self._lanes.seconds_to_early(now)
        if seconds == math.inf or self._budget.wanted:
            return math.inf
        return seconds if len(self._queue) >= self._most_rows(answered) else math.inf

    def go_ahead(self, now: float) -> Batch | None:
        """The batch for the next lane that will be free."""
        return self._take(now, self._most_rows(), threads=0)

    def follow(self, ended: Batch, now: float) -> Batch | None:
        """The next one in its lane, with its threads."""
        if not ended.threads or ended.alone or self._budget.wanted or not len(self._queue):
            return None
        batch = self._take(now, self._most_rows(), ended.threads)
        if batch is not None:
            ended.threads = 0
        return batch

    def end(self, batch: Batch, seconds: float, now: float) -> None:
        """It has computed, or failed in no time: the one that went ahead has its lane."""
        self._lanes.end(batch, seconds, now)

    def leave(self, batch: Batch, now: float) -> None:
        """It was told."""
        self._lanes.leave(batch, now)

    def is_told(self, batch: Batch) -> bool:
        return self._lanes.is_told(batch)

    def _take(self, now: float, most: int, threads: int, alone: bool = False) -> Batch | None:
        calls = self._queue.next_batch(now, flush=self.closing, most=most)
        if not calls:
            return None
        sizes = self._batching.allowed_batch_sizes
        batch = Batch(calls, batched=self._batched, sizes=sizes, alone=alone, threads=threads)
        self._lanes.take(batch, now)
        return batch

    def _most_rows(self, answered: int = 0) -> int:
        """Of the next batch: each lane's share of what is here.

        If one took all, the other lanes had nothing to do; and then all callers were answered, and
        sent their next, at once. Who waits for full batches gets them full. Rounded up to one of
        few sizes: an executor prepares itself anew where a batch has not the last one's size.
        """
        most = self._batching.max_batch_size
        if self._batching.batch_timeout_seconds:
            return most
        share = self.share_of(len(self._queue) + self._lanes.rows + answered)
        return min((size for size in self._sizes if size >= share), default=most)

    def _shape(self, call: Call) -> object:
        if not self._batched:
            return call
        return tuple([(name, v.shape[1:], v.dtype) for name, v in call.inputs.items()])
