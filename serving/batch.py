"""A batch: calls that are computed together, in a thread.

Their inputs are joined, the executor runs, and each gets its own rows. What goes wrong is told here
to whom it concerns: on the event loop it would leave callers without an answer.
"""

import asyncio
import concurrent.futures
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from serving.runtime.endpoint import Tensors
from serving.runtime.executors import Executor

# asyncio refuses the first in a future, and takes the second for a caller that left.
NOT_FOR_FUTURES = (StopIteration, concurrent.futures.CancelledError)


class Prediction(NamedTuple):
    outputs: dict[str, npt.NDArray[Any]]
    queue_us: int
    compute_us: int  # of the whole batch
    batch_size: int


class Call:
    """Rows of one caller that share a batch. Compared by identity, as a queue's item must be."""

    __slots__ = ("arrival", "expires_at", "future", "inputs", "rows")

    def __init__(
        self,
        inputs: Tensors,
        rows: int,
        future: asyncio.Future[Prediction],
        arrival: float,
        expires_at: float,
    ):
        self.inputs = inputs
        self.rows = rows
        self.future = future
        self.arrival = arrival
        self.expires_at = expires_at


class Run(NamedTuple):
    """One run of the executor. answers: in the order of the calls; or why there are none."""

    calls: Sequence[Call]
    answers: Sequence[Prediction]
    error: Exception | None
    rows: int
    seconds: float


class Batch:
    """
    Args: batched: False where the endpoint has no batch axis: then it is of one call.
          sizes: that rows are padded to.
          alone: no other batch runs.
          threads: of the budget; 0 as long as it has no lane.
    """

    def __init__(
        self,
        calls: list[Call],
        *,
        batched: bool,
        sizes: Sequence[int],
        alone: bool,
        threads: int,
    ) -> None:
        self.calls = calls
        self.rows = sum(call.rows for call in calls)
        self.threads = threads
        self._batched = batched
        self._sizes = sizes if batched else ()
        self.alone = alone
        self.lane_since = 0.0  # by the monotonic clock

    def run(self, executor: Executor) -> list[Run]:
        """Of those callers who are still there. Blocking; never raises."""
        runs = self._run(executor, self.calls, self.alone)
        self.calls = []  # what they sent is needed no more
        return runs

    def _run(self, executor: Executor, calls: Sequence[Call], alone: bool) -> list[Run]:
        began = time.monotonic()
        calls = [call for call in calls if not call.future.done()]
        if not calls:
            return []
        rows = sum(call.rows for call in calls)
        try:
            outputs = self._compute(executor, calls, rows, alone)
        except BaseException as raised:
            if len(calls) > 1:  # one bad example must fail only itself
                return [run for call in calls for run in self._run(executor, [call], alone=False)]
            return [Run(calls, [], for_a_future(raised), rows, 0.0)]
        ended = time.monotonic()
        began = max(began, self.lane_since)
        seconds = max(0.0, ended - began)
        compute_us = round(seconds * 1e6)
        answers = []
        first = 0
        for call in calls:
            last = first + call.rows
            mine = outputs
            if self._batched:
                mine = {name: value[first:last] for name, value in outputs.items()}
            queue_us = round((began - call.arrival) * 1e6)
            answers.append(Prediction(mine, queue_us, compute_us, rows))
            first = last
        return [Run(calls, answers, None, rows, seconds)]

    def _compute(
        self, executor: Executor, calls: Sequence[Call], rows: int, alone: bool
    ) -> dict[str, npt.NDArray[Any]]:
        parts = [call.inputs for call in calls]
        padding = self._padding(rows)
        if padding:  # computes what rows do, and is cut off afterwards
            last = {name: value[-1:] for name, value in parts[-1].items()}
            parts += [last] * padding
        outputs = executor.run(*parts, alone=alone, here=alone)
        if self._batched:
            _require_rows(outputs, rows + padding)
        return outputs

    def _padding(self, rows: int) -> int:
        sizes = self._sizes
        return sizes[bisect_left(sizes, rows)] - rows if sizes and rows <= sizes[-1] else 0


def for_a_future(raised: BaseException) -> Exception:
    """`raised`, or what a future takes in its place."""
    if isinstance(raised, Exception) and not isinstance(raised, NOT_FOR_FUTURES):
        return raised
    error = RuntimeError(f"the executor raised {type(raised).__name__}: {raised}")
    error.__cause__ = raised
    return error


def _require_rows(outputs: Tensors, rows: int) -> None:
    for name, value in outputs.items():
        if value.ndim == 0 or len(value) != rows:
            found = len(value) if value.ndim else "no"
            raise RuntimeError(
                f"the executor answered a batch of {rows} with {found} rows of {name}"
            )
