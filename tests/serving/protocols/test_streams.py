"""`answered`: what of a stream is in flight, in which order answers come, and who cleans up."""

import asyncio
from contextlib import aclosing
from typing import NamedTuple

import pytest

from serving.protocols.streams import MAX_IN_FLIGHT, answered

LARGE = 10**9


class Request(NamedTuple):
    number: int
    size: int = 1

    def ByteSize(self) -> int:
        return self.size


class Stream:
    """Requests that count how many of them were read, and how many are being answered."""

    def __init__(self, *requests: Request, may_answer: bool = True) -> None:
        self.requests = requests
        self.read = self.in_work = 0
        self.may_answer = asyncio.Event()
        if may_answer:
            self.may_answer.set()

    async def __aiter__(self):
        for request in self.requests:
            self.read += 1
            yield request

    async def answer(self, request: Request) -> int:
        self.in_work += 1
        try:
            await self.may_answer.wait()
        finally:
            self.in_work -= 1
        return request.number

    def answered(self, most_bytes: int = LARGE, **how):
        return aclosing(answered(aiter(self), self.answer, most_bytes=most_bytes, **how))


async def settle() -> None:
    """Until all that can go on without the test has gone on."""
    for _ in range(3 * MAX_IN_FLIGHT):
        await asyncio.sleep(0)


async def test_a_client_that_reads_nothing_is_read_from_no_more() -> None:
    stream = Stream(*map(Request, range(5_000)))
    async with stream.answered() as answers:
        got = [await anext(answers)]
        await settle()
        assert stream.read == MAX_IN_FLIGHT + 1  # and one at the door
        got.append(await anext(answers))  # so that the first has left
        await settle()
        assert stream.read == MAX_IN_FLIGHT + 2
        got += [answer async for answer in answers]
    assert sorted(got) == list(range(5_000))


async def test_nor_is_more_in_work_than_that() -> None:
    stream = Stream(*map(Request, range(2 * MAX_IN_FLIGHT)), may_answer=False)
    async with stream.answered() as answers:
        first = asyncio.ensure_future(anext(answers))
        await settle()
        assert stream.in_work == MAX_IN_FLIGHT
        stream.may_answer.set()
        got = [await first] + [answer async for answer in answers]
    assert sorted(got) == list(range(2 * MAX_IN_FLIGHT))


@pytest.mark.parametrize(
    ("sizes", "most_bytes", "read"),
    [
        ([40, 40, 40, 1], 100, 3),
        ([100, 1, 1], 100, 2),
        ([500, 1, 1], 100, 2),  # alone whatever its size
        ([1, 500, 1], 100, 2),
        ([30, 30, 40], 100, 3),
    ],
)
async def test_the_bytes_in_flight_are_bounded_too(sizes, most_bytes, read) -> None:
    requests = [Request(number, size) for number, size in enumerate(sizes)]
    stream = Stream(*requests)
    async with stream.answered(most_bytes) as answers:
        got = [await anext(answers)]
        await settle()
        assert stream.read == read
        got += [answer async for answer in answers]
    assert got == list(range(len(sizes)))


async def test_only_those_in_order_wait_for_one_another() -> None:
    gates = [asyncio.Event() for _ in range(5)]
    stream = Stream(*map(Request, range(5)))

    async def answer(request: Request) -> int:
        await gates[request.number].wait()
        return request.number

    stream.answer = answer
    async with stream.answered(in_order=lambda request: request.number != 2) as answers:
        following = asyncio.ensure_future(anext(answers))
        await settle()
        for number in (4, 3, 1, 2):
            gates[number].set()
        assert await following == 2
        following = asyncio.ensure_future(anext(answers))
        await settle()
        assert not following.done()
        gates[0].set()
        assert [await following] + [answer async for answer in answers] == [0, 1, 3, 4]


async def test_who_stops_reading_leaves_nothing_at_work() -> None:
    stream = Stream(*map(Request, range(10)), may_answer=False)
    async with stream.answered() as answers:
        following = asyncio.ensure_future(anext(answers))
        await settle()
        assert stream.in_work == 10
        following.cancel()
        await asyncio.wait([following])
    await settle()
    assert stream.in_work == 0


async def test_a_stream_that_breaks_is_an_error_after_its_answers() -> None:
    stream = Stream()

    async def broken():
        yield Request(1)
        await settle()
        raise ConnectionResetError

    answers = answered(broken(), stream.answer, most_bytes=LARGE)
    assert await anext(answers) == 1
    with pytest.raises(ExceptionGroup) as caught:
        await anext(answers)
    assert caught.group_contains(ConnectionResetError)
