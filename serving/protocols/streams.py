"""A stream's requests, each answered while later ones are read: of any protocol over gRPC.

What a request means is the protocol's matter. How much of a stream is held here is bounded: then
it is read no more, HTTP/2 holds the client up, and nothing is lost.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

MAX_IN_FLIGHT = 256  # requests of one stream, until their answers have left

Answer = TypeVar("Answer")


async def answered(
    requests: AsyncIterator[Any],
    answer: Callable[[Any], Awaitable[Answer]],
    *,
    most_bytes: int,
    in_order: Callable[[Any], bool] = lambda request: False,
) -> AsyncGenerator[Answer, None]:
    """Answers as they are ready, but those to requests `in_order` in the order of these.

    Args: requests: messages of protobuf.
          most_bytes: of all requests in flight. One alone is taken, whatever its size.
    """
    ready: asyncio.Queue[tuple[Answer, int] | None] = asyncio.Queue()
    room = _Room(most_bytes)

    async def work(
        request: Any, size: int, before: asyncio.Event | None, done: asyncio.Event | None
    ) -> None:
        given = await answer(request)
        if before is not None:
            await before.wait()
        ready.put_nowait((given, size))
        if done is not None:
            done.set()

    async def read() -> None:
        last: asyncio.Event | None = None
        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    size = request.ByteSize()
                    await room.take(size)
                    before, done = (last, asyncio.Event()) if in_order(request) else (None, None)
                    last = done or last
                    group.create_task(work(request, size, before, done))
        finally:
            ready.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (item := await ready.get()) is not None:
            given, size = item
            yield given
            room.give_back(size)  # only now: a client that reads nothing is read from no more
        await reading
    finally:
        reading.cancel()


class _Room:
    """Of one reader, who waits where there is none."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._requests = self._bytes = 0
        self._freed = asyncio.Event()

    async def take(self, size: int) -> None:
        while self._requests and not self._fits(size):
            self._freed.clear()
            await self._freed.wait()
        self._requests += 1
        self._bytes += size

    def give_back(self, size: int) -> None:
        self._requests -= 1
        self._bytes -= size
        self._freed.set()

    def _fits(self, size: int) -> bool:
        return self._requests < MAX_IN_FLIGHT and self._bytes + size <= self._most_bytes
