"""Who is in the next batch, and when. No I/O, no clock: the time is a number that is passed in.

Examples of one shape go together. Within a shape it is first come, first served; between shapes,
the one whose first has waited longest.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from serving.errors import QueueFull

Item = TypeVar("Item", bound=Hashable)


class BatchQueue(Generic[Item]):
    """Items are told apart by their hash: give each call an object of its own.

    Args: max_batch_size: items of a batch, at most.
          batch_timeout_seconds: a batch that is not full is due once its first item has waited
              so long; 0 makes each item due at once.
          max_queue_size: items that may wait, of all shapes together.
    """

    def __init__(self, max_batch_size: int, batch_timeout_seconds: float, max_queue_size: int):
        self.max_batch_size = max_batch_size
        self.batch_timeout_seconds = batch_timeout_seconds
        self.max_queue_size = max_queue_size
        self._buckets: dict[Hashable, dict[Item, float]] = {}  # shape -> item -> time of arrival
        self._shapes: dict[Item, Hashable] = {}

    def __len__(self) -> int:
        return len(self._shapes)

    def put(self, item: Item, shape: Hashable, now: float) -> None:
        """Raises QueueFull, and takes nothing, when max_queue_size items wait."""
        if len(self) >= self.max_queue_size:
            raise QueueFull(
                f"{self.max_queue_size:,} inputs are waiting already: send fewer at once, try again"
                " later, or raise TRIPTYCH_MAX_QUEUE_SIZE"
            )
        self._buckets.setdefault(shape, {})[item] = now
        self._shapes[item] = shape

    def remove(self, item: Item) -> bool:
        """Take out a caller that has left. False if it isn't waiting (any more)."""
        shape = self._shapes.pop(item, None)
        if shape is None:
            return False
        bucket = self._buckets[shape]
        del bucket[item]
        if not bucket:
            del self._buckets[shape]
        return True

    def next_batch(self, now: float, flush: bool = False) -> list[Item]:
        """The batch that is due, or nothing. `flush`: whatever waits is due."""
        due = [
            (arrival, shape)
            for shape, bucket in self._buckets.items()
            if flush or self._due_at(bucket) <= now
            for arrival in [next(iter(bucket.values()))]
        ]
        if not due:
            return []
        _, shape = min(due, key=lambda pair: pair[0])
        batch = list(self._buckets[shape])[: self.max_batch_size]
        for item in batch:
            self.remove(item)
        return batch

    def wake_at(self) -> float | None:
        """When a batch will be due; None if nothing waits."""
        return min(map(self._due_at, self._buckets.values()), default=None)

    def _due_at(self, bucket: dict[Item, float]) -> float:
        first = next(iter(bucket.values()))
        full = len(bucket) >= self.max_batch_size
        return first if full else first + self.batch_timeout_seconds
