"""The batches that are with an executor: one a lane, and one ahead, for the first lane to end.

Where that one waits in the executor's own queue, its inputs are there already, and the lane goes on
before a thread of ours has the interpreter's lock. It can't be called back from there: who leaves
it is computed all the same. So it is taken only shortly before a lane should end.

No locks, no threads, no clock: all are the batcher's.
"""

import math

from serving.batch import Batch
from serving.runtime.executors import Executor

EARLY_SECONDS = 0.01


class Lanes:
    def __init__(self, executor: Executor) -> None:
        self._lanes = executor.lanes
        self._queues = executor.queues
        self._batches: set[Batch] = set()
        self._ahead: Batch | None = None
        self._seconds = math.inf  # that the last batch computed

    def __len__(self) -> int:
        """Batches, until they `leave`."""
        return len(self._batches)

    @property
    def rows(self) -> int:
        return sum(batch.rows for batch in self._batches)

    @property
    def has_free(self) -> bool:
        return len(self._batches) - bool(self._ahead) < self._lanes

    def seconds_to_early(self, now: float) -> float:
        """Until one may be taken ahead; infinite without a place, or a lane's end in sight."""
        if not self._queues or self._ahead is not None or self.has_free:
            return math.inf
        in_lanes = [batch.lane_since for batch in self._batches if batch.threads]
        since = min(in_lanes, default=math.inf)
        return since + self._seconds - EARLY_SECONDS - now

    def take(self, batch: Batch, now: float) -> None:
        """In a lane if it has threads, else ahead."""
        self._batches.add(batch)
        if batch.threads:
            batch.lane_since = now
        else:
            self._ahead = batch

    def end(self, batch: Batch, seconds: float, now: float) -> None:
        """It has computed, or failed in no time: the one ahead has its lane, and its threads."""
        self._seconds = seconds or self._seconds
        batch.lane_since = math.inf
        self._hand_over(batch, now)

    def leave(self, batch: Batch, now: float) -> None:
        """It was told. What it still had is for the one that went ahead meanwhile."""
        self._batches.remove(batch)
        self._hand_over(batch, now)

    def is_told(self, batch: Batch) -> bool:
        return batch not in self._batches

    def _hand_over(self, batch: Batch, now: float) -> None:
        ahead = self._ahead
        if ahead is not None and batch.threads:
            self._ahead = None
            ahead.lane_since = now
            ahead.threads, batch.threads = batch.threads, 0
