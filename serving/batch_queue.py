"""Who is in the next batch, and when. No I/O, no clock: the time is a number that is passed in.

Only items of one shape share a batch. Urgent ones go first; of equals, who came first; between
shapes, the one whose next item would go first.
"""

import heapq
import math
from collections.abc import Hashable
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from serving.errors import QueueFull

Item = TypeVar("Item", bound=Hashable)


class _Place(NamedTuple):
    """Compared as it stands: the lower goes first."""

    priority: int
    number: int  # of arrival
    arrival: float
    rows: int
    shape: Hashable


class BatchQueue(Generic[Item]):
    """Items are told apart by their hash: give each an object of its own.

    Args: max_batch_size: rows of a batch, at most.
          batch_timeout_seconds: a batch that is not full is due once its first item has waited
              so long; 0 makes each item due at once.
          max_queue_size: rows that may wait, of all shapes together.
    """

    def __init__(self, max_batch_size: int, batch_timeout_seconds: float, max_queue_size: int):
        self.max_batch_size = max_batch_size
        self.batch_timeout_seconds = batch_timeout_seconds
        self.max_queue_size = max_queue_size
        # shape -> priority -> item -> its place, in order of arrival
        self._buckets: dict[Hashable, dict[int, dict[Item, _Place]]] = {}
        self._places: dict[Item, _Place] = {}
        self._expiries: list[tuple[float, int, Item]] = []  # a heap; who has left is passed over
        self._numbers = count()
        self._rows = 0

    def __len__(self) -> int:
        """Rows that wait."""
        return self._rows

    def require_room(self, rows: int) -> None:
        """Raises: QueueFull if `rows` more were too many. What comes alone is always taken."""
        if self._rows and self._rows + rows > self.max_queue_size:
            raise QueueFull(
                f"{self._rows:,} inputs are waiting, and with {rows:,} more it were over "
                f"{self.max_queue_size:,}: send fewer at once, try again later, or raise "
                "max_queue_size"
            )

    def put(
        self,
        item: Item,
        shape: Hashable,
        now: float,
        *,
        rows: int = 1,
        priority: int = 0,
        expires_at: float = math.inf,
    ) -> None:
        """Ask `require_room` first: a caller with several items is taken whole or not at all.

        Args: rows: no more than a batch holds.
              priority: the lower goes first.
        """
        if rows > self.max_batch_size:
            raise ValueError(f"{rows} rows in a batch of {self.max_batch_size}")
        place = _Place(priority, next(self._numbers), now, rows, shape)
        self._buckets.setdefault(shape, {}).setdefault(priority, {})[item] = place
        self._places[item] = place
        self._rows += rows
        if expires_at < math.inf:
            heapq.heappush(self._expiries, (expires_at, place.number, item))

    def remove(self, item: Item) -> bool:
        """Take out a caller that has left. False if it isn't waiting (any more)."""
        place = self._places.pop(item, None)
        if place is None:
            return False
        lanes = self._buckets[place.shape]
        del lanes[place.priority][item]
        if not lanes[place.priority]:
            del lanes[place.priority]
            if not lanes:
                del self._buckets[place.shape]
        self._rows -= place.rows
        return True

    def expire(self, now: float) -> list[Item]:
        """Takes out those that have waited too long."""
        expired = []
        while self._expiries and self._expiries[0][0] <= now:
            _, number, item = heapq.heappop(self._expiries)
            if self._waits(number, item):
                self.remove(item)
                expired.append(item)
        return expired

    @property
    def items(self) -> int:
        """That wait, whatever their rows."""
        return len(self._places)

    def next_batch(self, now: float, flush: bool = False, most: int | None = None) -> list[Item]:
        """The batch that is due, or nothing.

        Args: flush: whatever waits is due.
              most: rows, if fewer than a batch holds; an item of more is taken alone.
        """
        due = [lanes for lanes in self._buckets.values() if flush or self._due_at(lanes) <= now]
        if not due:
            return []
        lanes = due[0] if len(due) == 1 else min(due, key=_first_to_go)
        batch = self._fill(lanes, self.max_batch_size if most is None else most)
        for item in batch:
            self.remove(item)
        return batch

    def wake_at(self) -> float | None:
        """When a batch will be due, or an item expires; None if nothing waits."""
        times = [self._due_at(lanes) for lanes in self._buckets.values()]
        expires_at = self.expires_at()
        if expires_at is not None:
            times.append(expires_at)
        return min(times, default=None)

    def expires_at(self) -> float | None:
        """When the next item expires; None if none that waits ever does."""
        while self._expiries and not self._waits(*self._expiries[0][1:]):
            heapq.heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None

    def _waits(self, number: int, item: Item) -> bool:
        """Still, and since that arrival: an item may have left and come again."""
        place = self._places.get(item)
        return place is not None and place.number == number

    def _fill(self, lanes: dict[int, dict[Item, _Place]], room: int) -> list[Item]:
        """From the first on, as long as they fit: none is overtaken for being large."""
        batch: list[Item] = []
        for priority in sorted(lanes):
            for item, place in lanes[priority].items():
                room -= place.rows
                if room < 0 and batch:
                    return batch
                batch.append(item)
        return batch

    def _due_at(self, lanes: dict[int, dict[Item, _Place]]) -> float:
        first = min(next(iter(lane.values())).arrival for lane in lanes.values())
        if not self.batch_timeout_seconds:
            return first
        rows = sum(place.rows for lane in lanes.values() for place in lane.values())
        return first if rows >= self.max_batch_size else first + self.batch_timeout_seconds


def _first_to_go(lanes: dict[int, dict[Item, _Place]]) -> _Place:
    urgent = lanes[min(lanes)]
    return next(iter(urgent.values()))
