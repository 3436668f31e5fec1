"""Bounds on bodies: of a whole server by what its clients get, of the guard alone by its memory."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from serving.protocols.http_guard import BODIES_IN_MEMORY, Guard
from serving.protocols.http_server import HttpServer

LIMIT = 100_000
TOTAL = "triptych_requests_total{"
PATIENT_SECONDS = 20.0


class Application:
    """Reads a body, if it is told to, keeps it until `go` is set, and answers with its length."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.most_read = 0
        self.read_it = asyncio.Semaphore(0)  # released once a body

    async def __call__(self, scope, receive, send) -> None:
        size = 0
        more = scope["path"] != "/unread"
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
            self.most_read = max(self.most_read, size)
        self.read_it.release()
        await self.go.wait()
        body = json.dumps({"bytes": size}).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Running:
    def __init__(self, application: Application, guard: Guard, port: int) -> None:
        self.application = application
        self.guard = guard
        self.port = port

    async def post(self, content, path: str = "/", method: str = "POST") -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}"
        async with httpx.AsyncClient(base_url=url, timeout=PATIENT_SECONDS) as client:
            return await client.request(method, path, content=content)


@asynccontextmanager
async def guarded(**options: object) -> AsyncIterator[Running]:
    application = Application()
    guard = Guard(application, LIMIT, **options)
    server = HttpServer(guard)
    port = await server.start("127.0.0.1", 0)
    try:
        yield Running(application, guard, port)
    finally:
        await server.stop()


async def chunks(count: int, size: int = 10_000) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


async def test_a_body_up_to_the_limit_passes_with_its_length_told_or_not() -> None:
    async with guarded() as http:
        for content in (b"", bytes(LIMIT), chunks(10), chunks(0)):
            answer = await http.post(content)
            assert answer.status_code == 200
        assert http.application.most_read == LIMIT


@pytest.mark.parametrize("size", [LIMIT + 1, 10_000_000])
async def test_a_larger_one_is_refused_before_it_is_read(size) -> None:
    async with guarded() as http:
        answer = await http.post(bytes(size))
        assert answer.status_code == 413
        told = answer.json()["error"]
        assert f"{LIMIT:,} bytes are allowed" in told
        assert f"{size:,} bytes" in told
        assert "TRIPTYCH_MAX_REQUEST_BYTES" in told
        assert http.application.most_read == 0


async def test_a_stream_is_cut_where_it_passes_the_limit() -> None:
    async with guarded() as http:
        answer = await http.post(chunks(1000))
        assert (answer.status_code, "larger than that" in answer.text) == (413, True)
        assert http.application.most_read <= LIMIT


async def test_many_bodies_share_a_memory_that_is_given_back() -> None:
    async with guarded() as http:
        http.application.go.clear()
        held = [asyncio.create_task(http.post(bytes(LIMIT))) for _ in range(BODIES_IN_MEMORY)]
        async with asyncio.timeout(PATIENT_SECONDS):
            for _ in held:
                await http.application.read_it.acquire()
        one_more = await http.post(b"x")
        assert (one_more.status_code, "memory" in one_more.json()["error"]) == (429, True)
        http.application.go.set()
        assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
        assert (await http.post(bytes(LIMIT))).status_code == 200


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with guarded(body_seconds=0.2) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        async with asyncio.timeout(PATIENT_SECONDS):
            received = await reader.read()
        writer.close()
        assert received.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.2 s" in received


async def test_an_answer_without_reading_the_body_is_seen_by_a_client_that_sends_on() -> None:
    async with guarded() as http:
        answer = await http.post(os.urandom(LIMIT), "/unread")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n")
        async with asyncio.timeout(PATIENT_SECONDS):
            await reader.readuntil(b'{"bytes": 0}')
            for _ in range(9):
                writer.write(bytes(10_000))
                await writer.drain()
            assert await reader.read() == b""
        writer.close()


async def test_who_waits_to_be_asked_for_a_large_body_is_not_asked() -> None:
    async with guarded() as http:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(head % (LIMIT + 1))
        async with asyncio.timeout(PATIENT_SECONDS):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(head % 3)
        async with asyncio.timeout(PATIENT_SECONDS):
            assert (await reader.readline()).startswith(b"HTTP/1.1 100")
            writer.write(b"abc")
            await reader.readuntil(b'{"bytes": 3}')
        writer.close()


async def test_head_is_get_without_its_body() -> None:
    async with guarded() as http:
        answer = await http.post(None, method="HEAD")
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_whole_server_refuses_by_its_own_limit(client) -> None:
    url = f"{client.url}/v1/classify/text"
    async with httpx.AsyncClient(timeout=PATIENT_SECONDS) as http:
        for options in (
            {"content": bytes(LIMIT + 1)},
            {"content": chunks(11)},
            {"files": [("file", bytes(LIMIT))]},
            {"json": {"inputs": ["x" * LIMIT]}},
        ):
            answer = await http.post(url, **options)
            assert answer.status_code == 413
            assert f"{LIMIT:,} bytes are allowed" in answer.json()["error"]
    assert (await client.classify("text", "x")).version == 1


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        ("/v1/classify/audio", "http"),
        ("/v2/models/audio/infer", "oip"),
        ("/v1/models/audio:predict", "tfserving"),
    ],
)
async def test_each_protocol_counts_such_a_body_as_the_same(client, path, protocol) -> None:
    mark = f'model="audio",protocol="{protocol}",status="RESOURCE_EXHAUSTED"'

    async def counted() -> float:
        _, text = await client.http("/metrics")
        return sum(
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith(TOTAL) and mark in line
        )

    before = await counted()
    async with httpx.AsyncClient(timeout=PATIENT_SECONDS) as http:
        answer = await http.post(client.url + path, content=chunks(11))
    assert answer.status_code == 413
    assert await counted() == before + 1
