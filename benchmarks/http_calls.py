"""A request's way to the peers that speak HTTP only: the least client that keeps its connections.

A general one (httpx, aiohttp) takes several times as long a call, at the peer's expense.
"""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

import numpy as np

from triptych.loadgen.closed_loop import Failed, Sample
from triptych.loadgen.examples import tensor
from triptych.loadgen.plan import Plan

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MAX_HEAD_BYTES = 2**16


class HttpCaller:
    """A connection for each slot; `plan.bodies` are whole requests, heads included."""

    def __init__(self, url: str, plan: Plan, timeout_seconds: float) -> None:
        self.inputs = plan.inputs
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        head, _, body = plan.bodies[0].partition(b"\r\n\r\n")
        lines = (f"POST {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", head.decode())
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self._plan = plan
        self._timeout = timeout_seconds
        self._connections: dict[int, Connection] = {}

    async def call(self, slot: int, sampled: bool) -> Sample | None:
        try:
            async with asyncio.timeout(self._timeout):
                status, answer = await self._call(slot)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            await self._drop(slot)
            raise Failed(type(error).__name__, str(error)) from None
        if status != 200:
            raise Failed(f"HTTP {status}", answer[:300].decode(errors="replace"))
        return Sample(self._plan.problem(answer)) if sampled else None

    async def close(self) -> None:
        for slot in list(self._connections):
            await self._drop(slot)

    async def _call(self, slot: int) -> tuple[int, bytes]:
        if slot not in self._connections:
            self._connections[slot] = await asyncio.open_connection(
                self._host, self._port, limit=MAX_HEAD_BYTES
            )
        reader, writer = self._connections[slot]
        writer.write(self._request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        headers = dict(line.partition(": ")[::2] for line in head.split("\r\n")[1:])
        if headers.get("transfer-encoding") == "chunked":
            answer = await _chunks(reader)
        else:
            answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            await self._drop(slot)
        return status, answer

    async def _drop(self, slot: int) -> None:
        if connection := self._connections.pop(slot, None):
            connection[1].close()
            with suppress(OSError):
                await connection[1].wait_closed()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


def http_plan(shape: tuple[int, ...]) -> Plan:
    """One tensor a request, as the bytes of the body."""
    body = tensor(shape, np.dtype(np.float32)).tobytes()
    headers = (
        "Accept: */*",
        "Content-Type: application/octet-stream",
        f"Content-Length: {len(body)}",
    )
    request = "\r\n".join(headers).encode() + b"\r\n\r\n" + body

    def problem(answered: bytes) -> str | None:
        return None if answered else "the answer is empty"

    return Plan("", (request,), shape[0], problem, "a tensor")
