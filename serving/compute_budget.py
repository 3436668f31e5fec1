"""Which model's batch may compute next, so that all of them together keep to one thread budget.

asyncio, one loop. Who is refused is called back in the order of asking.
"""

from collections.abc import Callable


class ComputeBudget:
    """Args: threads: that compute at once, of all models."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._used = 0
        self._waiting: dict[Callable[[], None], int] = {}  # in the order of asking
        self._turn: Callable[[], None] | None = None  # who is being called back

    def take(self, threads: int, again: Callable[[], None]) -> bool:
        """False: not now; `again` is called, once, when it is worth another try.

        A batch that wants more than there is runs alone.
        """
        # None overtakes who waits, be it small: the large would wait for ever.
        if (self._waiting and again != self._turn) or not self._fits(threads):
            self._waiting.setdefault(again, threads)
            return False
        if again == self._turn:
            self._turn = None  # for one batch: then the next has its turn
        self._used += threads
        return True

    @property
    def idle(self) -> bool:
        return not self._used

    @property
    def wanted(self) -> bool:
        """Someone waits."""
        return bool(self._waiting)

    def give_back(self, threads: int) -> None:
        self._used -= threads
        # As long as there is room: whom its callers have left takes nothing when it is called.
        while self._waiting:
            again, wanted = next(iter(self._waiting.items()))
            if not self._fits(wanted):
                break
            del self._waiting[again]
            self._turn = again
            try:
                again()
            finally:
                self._turn = None

    def _fits(self, threads: int) -> bool:
        return not self._used or self._used + threads <= self.threads
