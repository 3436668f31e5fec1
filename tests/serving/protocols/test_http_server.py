"""Connections: who is slow, who is too many, who talks no HTTP, and how the listening ends.

The application is a toy, and times are short; bodies are in test_http_guard.py.
"""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from serving.protocols.http_guard import Guard
from serving.protocols.http_server import HttpServer

PATIENT_SECONDS = 20.0
SHORT_SECONDS = 0.2
LARGE_BYTES = 50_000_000
OK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    """Answers "/" at once, "/wait" when `go` is set, and "/large" with LARGE_BYTES."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:
        if scope["path"] == "/wait":
            self.arrived.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if scope["path"] == "/break":
            raise ValueError("a secret")
        body = bytes(LARGE_BYTES) if scope["path"] == "/large" else b"answered"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Running:
    def __init__(self, application: Application, server: HttpServer, port: int) -> None:
        self.application = application
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path: str = "/") -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENT_SECONDS) as client:
            return await client.get(path)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def told(self, sent: bytes) -> tuple[int, dict]:
        """(status, JSON) of what is answered to these bytes, until the server hangs up."""
        reader, writer = await self.connect()
        try:
            writer.write(sent)
            async with asyncio.timeout(PATIENT_SECONDS):
                received = await reader.read()
        finally:
            writer.close()
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


@asynccontextmanager
async def running(**options: object) -> AsyncIterator[Running]:
    application = Application()
    server = HttpServer(Guard(application, 100_000), **options)
    port = await server.start("127.0.0.1", 0)
    try:
        yield Running(application, server, port)
    finally:
        await server.stop(SHORT_SECONDS)


async def test_a_connection_is_kept_for_the_next_call() -> None:
    async with running() as http:
        reader, writer = await http.connect()
        for _ in range(3):
            writer.write(OK)
            async with asyncio.timeout(PATIENT_SECONDS):
                assert (await reader.readuntil(b"answered")).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: x\r\n", OK + b"GET /"]
)
async def test_a_head_that_does_not_end_is_given_up(sent) -> None:
    async with running(head_seconds=SHORT_SECONDS) as http:
        reader, writer = await http.connect()
        writer.write(sent)
        async with asyncio.timeout(PATIENT_SECONDS):
            received = await reader.read()  # to the end
        writer.close()
        assert b"HTTP/1.1 408" in received
        assert b"no request came within 0.2 s" in received
        assert (await http.get()).status_code == 200


async def test_a_head_that_drips_has_no_longer() -> None:
    async with running(head_seconds=1.0) as http:
        reader, writer = await http.connect()
        writer.write(b"GET / HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"X: y\r\n")
                await http.get()

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(PATIENT_SECONDS):
            assert b"HTTP/1.1 408" in await reader.read()
        dripping.cancel()
        writer.close()


async def test_a_call_may_take_longer_than_its_head() -> None:
    async with running(head_seconds=SHORT_SECONDS) as http:
        call = asyncio.create_task(http.get("/wait"))
        await http.application.arrived.wait()
        assert (await http.told(b""))[0] == 408  # by when as much time has passed
        http.application.go.set()
        assert (await call).status_code == 200


async def test_a_client_that_leaves_takes_its_call_with_it() -> None:
    async with running() as http:
        _, writer = await http.connect()
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENT_SECONDS):
            await http.application.arrived.wait()
            writer.close()
            await http.application.cancelled.wait()
        assert (await http.get()).status_code == 200


async def test_one_connection_too_many_is_told_so_and_others_go_on() -> None:
    async with running(most_connections=3) as http:
        kept = [await http.connect() for _ in range(3)]
        status, answer = await http.told(b"")
        assert (status, "too many connections" in answer["error"]) == (503, True)
        for reader, writer in kept:
            writer.write(OK)
            async with asyncio.timeout(PATIENT_SECONDS):
                assert b"200" in await reader.readuntil(b"answered")
            writer.close()
        async with asyncio.timeout(PATIENT_SECONDS):
            while (await http.get()).status_code != 200:
                pass


@pytest.mark.parametrize(
    "sent",
    [
        b"not HTTP at all\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # TLS
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /wait HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
    ],
    ids=("words", "TLS", "large", "negative", "no number", "chunk"),
)
async def test_what_is_no_request_is_told_so(sent, caplog) -> None:
    async with running() as http:
        status, answer = await http.told(sent)
        assert (status, "not HTTP/1.1" in answer["error"]) == (400, True)
        assert (await http.get()).status_code == 200
    assert caplog.records == []  # no client writes to the log


async def test_a_mistake_of_ours_is_not_told() -> None:
    async with running() as http:
        answer = await http.get("/break")
        assert answer.status_code == 500
        assert "see the server's log" in answer.json()["error"]
        assert "secret" not in answer.text


async def test_stopping_answers_what_is_in_progress() -> None:
    async with running() as http:
        call = asyncio.create_task(http.get("/wait"))
        await http.application.arrived.wait()
        stopping = asyncio.create_task(http.server.stop(PATIENT_SECONDS))

        async def refused() -> None:
            while True:
                await http.get()

        with pytest.raises(httpx.TransportError):
            await asyncio.wait_for(refused(), PATIENT_SECONDS)
        http.application.go.set()
        assert (await call).text == "answered"
        await stopping


async def test_stopping_cuts_off_what_takes_too_long_with_a_word() -> None:
    async with running() as http:
        call = asyncio.create_task(http.get("/wait"))
        silent = [await http.connect() for _ in range(3)]
        silent[1][1].write(b"GET /hea")
        silent[2][1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        await http.application.arrived.wait()
        async with asyncio.timeout(PATIENT_SECONDS / 2):
            await http.server.stop(SHORT_SECONDS)
        answer = await call
        assert (answer.status_code, "the server is ending" in answer.text) == (503, True)
        for _, writer in silent:
            writer.close()


async def test_stopping_waits_for_no_client_that_reads_nothing() -> None:
    async with running() as http:
        reader, writer = await http.connect()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENT_SECONDS):
            await reader.readuntil(b"\r\n\r\n")
            await http.server.stop(SHORT_SECONDS)
            with suppress(ConnectionResetError):
                assert len(await reader.read()) < LARGE_BYTES
        writer.close()


async def test_stopping_frees_the_port_and_may_be_done_again() -> None:
    async with running() as http:
        await http.server.stop()
        await http.server.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", http.port))
        second = HttpServer(http.application)
        assert await second.start("127.0.0.1", http.port) == http.port
        await second.stop()
    await HttpServer(http.application).stop()  # that never started


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid"])
async def test_where_it_cannot_listen_it_says_so(host) -> None:
    async with running() as http:
        server = HttpServer(http.application)
        with pytest.raises(OSError, match=f"{host} port {http.port} for HTTP: .*--http-port"):
            await server.start(host, http.port)
        await server.stop()


async def test_two_share_a_port_if_both_ask_for_it() -> None:
    first, second = HttpServer(Application()), HttpServer(Application())
    port = await first.start("127.0.0.1", 0, reuse_port=True)
    assert await second.start("127.0.0.1", port, reuse_port=True) == port
    await first.stop()
    await second.stop()


async def test_signals_and_the_log_stay_the_servers(caplog, capfd) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with caplog.at_level(logging.DEBUG):
        async with running() as http:
            after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
            assert after == before
            await http.get()
            await http.told(b"not HTTP at all\r\n\r\n")
            _, writer = await http.connect()
            writer.transport.abort()
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    assert capfd.readouterr().out == ""
