"""Where the time goes: seconds of each stage, of all threads together."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

STAGES = ("read", "decode", "compute", "write")


class Account:
    """May be added to from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: Counter[str] = Counter()

    def add(self, **seconds: float) -> None:
        with self._lock:
            self._seconds.update(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self.add(**{stage: perf_counter() - began})

    def take(self) -> dict[str, float]:
        """All so far, which are no longer here."""
        with self._lock:
            taken, self._seconds = dict(self._seconds), Counter()
        return taken

    def seconds(self) -> dict[str, float]:
        with self._lock:
            return {stage: self._seconds[stage] for stage in STAGES}
