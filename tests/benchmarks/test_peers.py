"""What is driven and reported of the peers; they themselves are not installed here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.http_calls import HttpCaller, http_plan
from benchmarks.peers.catalogue import CONTENDERS, PEERS
from benchmarks.peers.report import ratios
from triptych.loadgen.closed_loop import Failed, closed_loop

SHAPE = (1, 2, 3)


@asynccontextmanager
async def http(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers each request so. Yields its address, and the bodies that came."""
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                bodies.append(await reader.readexactly(size))
                writer.write(answer)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(talk, "localhost", 0)
    async with server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}/predict", bodies


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    ],
)
async def test_a_tensor_by_http(answer: bytes) -> None:
    async with http(answer) as (url, bodies):
        caller = HttpCaller(url, http_plan(SHAPE), 5)
        load = await closed_loop(caller, 2, 0.1, warm_up_seconds=0)
        await caller.close()
    assert load.requests > 0
    assert not load.errors
    assert {len(body) for body in bodies} == {4 * 6}


async def test_a_status_is_an_error() -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
    async with http(busy) as (url, _):
        caller = HttpCaller(url, http_plan(SHAPE), 5)
        with pytest.raises(Failed, match="busy") as caught:
            await caller.call(0, sampled=True)
        await caller.close()
    assert caught.value.code == "HTTP 503"


async def test_nobody_there() -> None:
    caller = HttpCaller("http://localhost:1/predict", http_plan(SHAPE), 5)
    with pytest.raises(Failed):
        await caller.call(0, sampled=True)


def test_ratios_are_to_the_best_peer_at_each_load() -> None:
    speeds = {
        "triptych": (300.0, 900.0, 1000.0),
        "sketch": (999.0, 999.0, 9999.0),  # no peer
        "kserve": (100.0, 600.0, 400.0),
        "pytriton": (150.0, 500.0, 500.0),
    }
    loads = [
        {"contender": name, "concurrency": number, "inputs_per_second": speed}
        for name, three in speeds.items()
        for number, speed in zip((1, 8, 32), three, strict=True)
    ]
    wanted = "triptych: 2.00x pytriton at 1, 1.50x kserve at 8, 2.00x pytriton at 32"
    assert ratios(loads) == [wanted]


def test_every_package_of_a_peer_is_pinned() -> None:
    assert PEERS
    for name in PEERS:
        assert all("==" in requirement for requirement in CONTENDERS[name].requirements)
