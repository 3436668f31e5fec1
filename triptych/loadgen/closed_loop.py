"""So many requests in flight at once, each sent as soon as one is answered, and what came of it.

How a request goes out is its caller's matter (calls.py).
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

WARM_UP_SECONDS = 1.0
SAMPLE_SECONDS = 0.01  # between two answers that are read
AFTER_ERROR_SECONDS = 0.01  # or a server that refuses at once would be all that is measured
PATIENCE_SECONDS = 60.0  # for the answers that are due when the time is up


class Sample(NamedTuple):
    """An answer that was read. problem: what is wrong with it; account: the server's, where sent.

    The account's names are those of triptych's trailing metadata.
    """

    problem: str | None = None
    account: dict[str, str] | None = None


class Failed(Exception):
    """A request that was not answered. code: a status's name. The text: one server's words."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code


class Caller(Protocol):
    inputs: int  # in one request

    async def call(self, slot: int, sampled: bool) -> Sample | None:
        """Sends one request, and waits for its answer. Of a slot there is one at a time.

        Raises: Failed.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Load:
    """Milliseconds are of the requests that were answered; counts of what ended in `seconds`.

    Those begin and end with an answer: where sixteen come at once, and then none for half a second,
    a fixed time would count one such batch more or less.
    """

    concurrency: int
    seconds: float
    requests: int = 0
    inputs: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    errors: dict[str, int] = field(default_factory=dict)
    first_error: str | None = None
    # Medians of the sampled answers: queue-us, decode-us, compute-us, batch-size.
    account: dict[str, float] = field(default_factory=dict)
    # While it was measured, of each second of the clock.
    client_cores: float = 0.0
    watched_cores: float = 0.0

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def inputs_per_second(self) -> float:
        return self.inputs / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        rates = {
            "requests_per_second": self.requests_per_second,
            "inputs_per_second": self.inputs_per_second,
        }
        return asdict(self) | rates


async def closed_loop(
    caller: Caller,
    concurrency: int,
    seconds: float,
    *,
    warm_up_seconds: float = WARM_UP_SECONDS,
    watched: Callable[[], float] = lambda: 0.0,
) -> Load:
    """
    Args: warm_up_seconds: what ends before they are over is not counted.
          watched: the core-seconds that another process has used so far, if they are wanted.
    """
    gc.freeze()  # what is there stays, so that no request waits while it is looked through
    try:
        run = _Run(caller, warm_up_seconds, seconds)
        slots = [asyncio.create_task(run.slot(number)) for number in range(concurrency)]
        await asyncio.sleep(max(0.0, run.start - time.perf_counter()))
        before = time.perf_counter(), time.process_time(), watched()
        await asyncio.sleep(max(0.0, run.end - time.perf_counter()))
        after = time.perf_counter(), time.process_time(), watched()
        _, late = await asyncio.wait(slots, timeout=PATIENCE_SECONDS)
        for task in late:
            task.cancel()
        for outcome in await asyncio.gather(*slots, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
    finally:
        gc.unfreeze()
    run.errors["no answer"] += len(late)
    passed, client, other = (then - now for now, then in zip(before, after, strict=True))
    return run.load(concurrency, client / passed, other / passed)


class _Run:
    def __init__(self, caller: Caller, warm_up_seconds: float, seconds: float) -> None:
        self._caller = caller
        self.start = time.perf_counter() + warm_up_seconds
        self.end = self.start + seconds
        self._answered: list[tuple[float, float]] = []  # when, and after how long
        self.errors: Counter[str] = Counter()
        self._first_error: str | None = None
        self._accounts: list[dict[str, str]] = []
        self._sampled = 0.0  # when

    async def slot(self, number: int) -> None:
        call, clock = self._caller.call, time.perf_counter
        start, end, answered = self.start, self.end, self._answered
        began = clock()
        while began < end:
            sampled = began - self._sampled > SAMPLE_SECONDS
            if sampled:
                self._sampled = began
            sample = error = None
            try:
                sample = await call(number, sampled)
            except Failed as failed:
                error = failed.code, str(failed)
            ended = clock()
            if sample is not None and sample.problem is not None:
                error = "wrong answer", sample.problem
            if error is None:
                answered.append((ended, ended - began))
                if sample is not None and sample.account and start <= ended <= end:
                    self._accounts.append(sample.account)
            else:
                if start <= ended <= end:
                    self._note(*error)
                await asyncio.sleep(AFTER_ERROR_SECONDS)
                ended = clock()
            began = ended

    def _note(self, code: str, details: str) -> None:
        self.errors[code] += 1
        if self._first_error is None:
            self._first_error = details

    def load(self, concurrency: int, client_cores: float, watched_cores: float) -> Load:
        ended, taken = np.array(self._answered or np.empty((0, 2))).T
        first = max(ended[ended <= self.start], default=self.start)
        last = max(ended[ended <= self.end], default=first)
        taken = taken[(ended > first) & (ended <= last)] * 1e3
        times: dict[str, float] = {}
        if len(taken):
            values = (*np.percentile(taken, (50, 90, 99)), taken.max())
            times = dict(zip(("p50_ms", "p90_ms", "p99_ms", "max_ms"), values, strict=True))
        return Load(
            concurrency=concurrency,
            seconds=float(last - first),
            requests=len(taken),
            inputs=len(taken) * self._caller.inputs,
            errors={code: count for code, count in self.errors.most_common() if count},
            first_error=self._first_error,
            account=medians(self._accounts),
            client_cores=client_cores,
            watched_cores=watched_cores,
            **{name: round(float(value), 4) for name, value in times.items()},
        )


def medians(accounts: Sequence[dict[str, str]]) -> dict[str, float]:
    """Of what is a number."""
    numbers: dict[str, list[float]] = {}
    for account in accounts:
        for name, value in account.items():
            if value.isdecimal():
                numbers.setdefault(name, []).append(float(value))
    return {name: float(np.median(values)) for name, values in numbers.items()}
