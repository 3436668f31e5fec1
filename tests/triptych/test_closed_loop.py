"""The closed loop with callers written by hand, and what it makes of their answers."""

import asyncio
import time

import pytest

from triptych.loadgen.closed_loop import Failed, Sample, closed_loop, medians
from triptych.loadgen.plan import groups, varint


class Caller:
    inputs = 4

    def __init__(self, answer=lambda: None) -> None:
        self.now = self.most = self.calls = 0
        self.busy: set[int] = set()
        self._answer = answer

    async def call(self, slot: int, sampled: bool) -> Sample | None:
        assert slot not in self.busy
        self.busy.add(slot)
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.001)
            return self._answer()
        finally:
            self.now -= 1
            self.busy.discard(slot)

    async def close(self) -> None:
        pass


async def test_so_many_in_flight_and_no_more() -> None:
    caller = Caller()
    load = await closed_loop(caller, 5, 0.2, warm_up_seconds=0.05)
    assert caller.most == 5
    assert caller.now == 0
    assert 0 < load.requests < caller.calls  # what warmed up is not counted
    assert load.inputs == 4 * load.requests
    assert load.p50_ms >= 1


class Bursts(Caller):
    """Answers eight at once, and then none for a while: as a server that computes batches."""

    inputs = 1

    async def call(self, slot: int, sampled: bool) -> None:
        period = 0.1
        await asyncio.sleep(period - time.perf_counter() % period)


async def test_batches_are_not_cut() -> None:
    """In 0.25 s there are two or three bursts, and yet the rate is that of whole ones."""
    load = await closed_loop(Bursts(), 8, 0.25, warm_up_seconds=0.15)
    assert load.requests_per_second == pytest.approx(80, rel=0.1)


async def test_errors_by_code() -> None:
    turns = iter(range(10**6))

    def answer() -> Sample | None:
        turn = next(turns) % 3
        if turn == 0:
            raise Failed("RESOURCE_EXHAUSTED", "the queue is full")
        return Sample("not what was asked for") if turn == 1 else None

    load = await closed_loop(Caller(answer), 3, 0.2, warm_up_seconds=0.0)
    assert load.errors.keys() == {"RESOURCE_EXHAUSTED", "wrong answer"}
    assert load.first_error == "the queue is full"
    assert load.requests > 0


async def test_a_mistake_of_ours_is_not_an_error_of_the_server() -> None:
    def answer() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await closed_loop(Caller(answer), 2, 0.05, warm_up_seconds=0.0)


async def test_nothing_in_time() -> None:
    load = await closed_loop(Caller(), 1, 0.0, warm_up_seconds=0.0)
    assert load.requests == 0
    assert load.p50_ms is None
    assert load.as_json()["requests_per_second"] == 0


async def test_the_watched_process_is_read_when_the_measuring_begins_and_ends() -> None:
    used = iter((10.0, 10.1))
    load = await closed_loop(Caller(), 1, 0.1, warm_up_seconds=0.0, watched=lambda: next(used))
    assert load.watched_cores == pytest.approx(1.0, rel=0.3)


def test_medians_of_numbers() -> None:
    accounts = [{"queue-us": str(us), "executor": "nan"} for us in (1, 5, 90)]
    assert medians(accounts) == {"queue-us": 5}


@pytest.mark.parametrize(
    ("count", "batch", "wanted"),
    [(1, 1, ["a"]), (3, 1, ["a", "b", "c"]), (3, 2, ["ab", "ca"]), (1, 3, ["aaa"])],
)
def test_each_file_is_sent(count: int, batch: int, wanted: list[str]) -> None:
    assert groups("abc"[:count], batch) == [list(group) for group in wanted]


@pytest.mark.parametrize(("value", "wanted"), [(0, b"\0"), (127, b"\x7f"), (300, b"\xac\x02")])
def test_varint(value: int, wanted: bytes) -> None:
    assert varint(value) == wanted
