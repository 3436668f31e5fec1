"""Threads that compute tables, each one after another, as their calls come."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Self

import pyarrow as pa

Predict = Callable[[pa.Table], pa.Table]
Call = tuple[Future[pa.Table], Future[pa.Table]]  # what is to be read before, and the rows


class Workers:
    """Use it in a `with`: its end waits for what is being computed, and drops what is not.

    Args: predicts: each is called by a thread of its own.
    """

    def __init__(self, predicts: Iterable[Predict]) -> None:
        self._calls: deque[Call] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._ended = False
        for predict in predicts:
            self.add(predict)

    @property
    def number(self) -> int:
        return len(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._ended = True
            self._calls.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def submit(self, table: Future[pa.Table]) -> Future[pa.Table]:
        rows: Future[pa.Table] = Future()
        with self._changed:
            self._calls.append((table, rows))
            self._changed.notify()
        return rows

    def add(self, predict: Predict) -> None:
        """One more thread, which calls this."""
        thread = threading.Thread(target=self._work, args=(predict,), name="compute")
        self._threads.append(thread)
        thread.start()

    def _work(self, predict: Predict) -> None:
        while (call := self._next()) is not None:
            table, rows = call
            try:
                rows.set_result(predict(table.result()))
            except BaseException as error:
                rows.set_exception(error)

    def _next(self) -> Call | None:
        with self._changed:
            while not self._ended:
                if self._calls:
                    return self._calls.popleft()
                self._changed.wait()
        return None
