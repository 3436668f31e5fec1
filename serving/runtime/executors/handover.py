"""A batch's way to an executor that lets it wait for a lane.

There neither the event loop nor the interpreter's lock is asked who goes on, so a lane is never
idle. What holds for a batch in our own queue still does: it is computed after those before it, it
is not told of before the one whose lane it took, and who leaves meanwhile is not computed.
"""

import threading
import time
from collections.abc import Callable, Sequence


class CalledBack(Exception):
    """The batch was not computed, as its callers are others now."""


class Handover:
    """Of one batch. Threads: the event loop makes it and calls back, another runs the executor.

    Args: changed: one for all batches of an executor.
          after: those that are with the executor, if this one is to wait there for a lane.
    """

    def __init__(self, changed: threading.Condition, after: Sequence["Handover"] = ()) -> None:
        self._changed = changed
        self._after = after
        self._is_accepted = False
        self._told_at = 0.0
        self._cancel: Callable[[], None] | None = None
        self.is_called_back = False

    def wait_for_turn(self) -> None:
        """Blocking, until the executor has those before it."""
        if self._after:
            with self._changed:
                self._changed.wait_for(lambda: all(one._is_accepted for one in self._after))

    def begin(self) -> None:
        """Before it is looked who is still there, each time that it goes to the executor."""
        with self._changed:
            self._cancel = None
            self.is_called_back = False

    def accept(self, cancel: Callable[[], None]) -> None:
        """By the executor, which takes no other batch before this one. cancel: lets go of it."""
        with self._changed:
            self._cancel = cancel
            if self.is_called_back:
                cancel()
            else:
                self._accepted()

    def call_back(self) -> None:
        """One of its callers has left. From a lane it is not: the others' answers are near."""
        with self._changed:
            if self._has_lane():
                return
            self.is_called_back = True
            if self._cancel is not None:
                self._is_accepted = False
                self._cancel()

    def end(self) -> None:
        """It needs the executor no more."""
        with self._changed:
            self._accepted()

    def lane_since(self) -> float:
        """Blocking, until who had the lane before has told of its end. By the monotonic clock."""
        if not self._after:
            return 0.0
        with self._changed:
            self._changed.wait_for(self._has_lane)
            return min(one._told_at for one in self._after if one._told_at)

    def give_lane(self) -> None:
        """Once it was told of its end."""
        with self._changed:
            self._told_at = time.monotonic()
            self._after = ()  # else each held all before it
            self._changed.notify_all()

    def _has_lane(self) -> bool:
        return not self._after or any(one._told_at for one in self._after)

    def _accepted(self) -> None:
        self._is_accepted = True
        self._changed.notify_all()
