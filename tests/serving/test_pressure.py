"""A real `triptych serve` under pressure: its memory, its refusals, and its end.

What has settings of its own, or ends, has a process of its own; the others look at what theirs is
like before and after, and share one.
"""

import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from protos.triptych.v1.classifier_pb2 import (
    ClassifyRequest,
    ClassifyResponse,
    GetModelRequest,
    Input,
)
from protos.triptych.v1.classifier_pb2_grpc import ClassifierStub

Status = grpc.StatusCode
HUGE_BYTES = 200_000_000
REFUSAL_SECONDS = 0.6
FLAT_KIB = 32 * 1024  # that memory may grow by: a sixth of what was sent
CALLS = 2_000
PATIENT_SECONDS = 60
END_SECONDS = 2.0
WAIT_SECONDS = 5
CLASSIFY = "/triptych.v1.Classifier/Classify"


class Process:
    def __init__(self, child: subprocess.Popen, grpc_port: int, http_port: int) -> None:
        self.child = child
        self.target = f"localhost:{grpc_port}"
        self.url = f"http://localhost:{http_port}"

    def memory_kib(self, name: str) -> int:
        """VmRSS, or VmHWM: the most it ever was."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found
        return int(found[1])

    def forget_most_memory(self) -> None:
        """VmHWM starts again from what it is now, as loading a model takes more than serving."""
        Path(f"/proc/{self.child.pid}/clear_refs").write_text("5")

    def group(self) -> list[int]:
        """The processes of its session, itself included."""
        listed = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if int(fields[3]) == self.child.pid and fields[0] != "Z":
                listed.append(int(path.parent.name))
        return listed


@contextmanager
def serving(repository: Path, **settings: object) -> Iterator[Process]:
    settings = {"executor": "openvino", "measure_seconds": 0, "cache": repository} | settings
    environment = {f"TRIPTYCH_{name.upper()}": str(value) for name, value in settings.items()}
    arguments = ["--repository", repository, "--grpc-port", 0, "--http-port", 0]
    child = subprocess.Popen(
        [sys.executable, "-m", "triptych", "serve", *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        line = child.stdout.readline()
        ports = re.search(r":(\d+) \(gRPC\) and http://[^ ]*?:(\d+)", line)
        assert ports, f"it said {line!r}"
        yield Process(child, int(ports[1]), int(ports[2]))
    finally:
        child.kill()
        child.communicate()


@pytest.fixture(scope="module")
def repository(tiny, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    tiny.publish(folder, "text")
    return folder


@pytest.fixture(scope="module")
def shared(repository) -> Iterator[Process]:
    """With the settings of everyone: each test ends with a call that is answered."""
    with serving(repository) as process:
        yield process


def request(*texts: str) -> ClassifyRequest:
    return ClassifyRequest(model="text", inputs=[Input(text=text) for text in texts])


def test_a_huge_message_is_refused_at_once_and_takes_no_memory(shared) -> None:
    huge = ClassifyRequest(model="text", inputs=[Input(data=bytes(HUGE_BYTES))])
    encoded = huge.SerializeToString()
    url = f"{shared.url}/v1/classify/text"
    # One client of each kind: what it loads before its first call is not the server's part.
    with grpc.insecure_channel(shared.target) as channel, httpx.Client() as client:
        stub = ClassifierStub(channel)
        assert stub.Classify(request("warm")).results[0].labels
        client.post(url, content=b"warm").raise_for_status()
        shared.forget_most_memory()
        before = shared.memory_kib("VmRSS")

        refuse = channel.unary_unary(CLASSIFY)  # of bytes: encoding is not the server's part

        def by_grpc() -> None:
            with pytest.raises(grpc.RpcError) as caught:
                refuse(encoded, timeout=PATIENT_SECONDS)
            assert caught.value.code() is Status.RESOURCE_EXHAUSTED

        def by_http() -> None:
            assert client.post(url, content=encoded).status_code == 413

        assert best_seconds(by_grpc) < REFUSAL_SECONDS
        assert best_seconds(by_http) < REFUSAL_SECONDS
        assert shared.memory_kib("VmHWM") - before < FLAT_KIB
        assert shared.memory_kib("VmRSS") - before < FLAT_KIB
        assert stub.Classify(request("and it goes on")).results[0].labels


def best_seconds(call: Callable[[], None]) -> float:
    """Of a few tries: a busy machine is no fault of the server's."""
    tries = []
    for _ in range(3):
        began = time.perf_counter()
        call()
        tries.append(time.perf_counter() - began)
    return min(tries)


async def flood(target: str) -> list[tuple[Status, float]]:
    """Code, and seconds until it came, of each of CALLS at once."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = ClassifierStub(channel)
        began = time.perf_counter()

        async def one(number: int) -> tuple[Status, float]:
            try:
                await stub.Classify(request(f"text {number}"), timeout=PATIENT_SECONDS)
                code = Status.OK
            except grpc.aio.AioRpcError as error:
                code = error.code()
            return code, time.perf_counter() - began

        return await asyncio.gather(*(one(number) for number in range(CALLS)))


async def test_of_very_many_calls_at_once_each_is_answered_or_refused(shared) -> None:
    codes = Counter(code for code, _ in await flood(shared.target))
    assert codes.keys() <= {Status.OK, Status.RESOURCE_EXHAUSTED}
    assert codes[Status.OK] > 0
    async with grpc.aio.insecure_channel(shared.target) as channel:
        assert (await ClassifierStub(channel).Classify(request("x"))).results[0].labels


async def test_what_is_too_many_is_refused_while_others_still_wait(repository) -> None:
    room = 100
    settings = {
        "max_queue_size": room,
        "max_batch_size": 2 * room,
        "batch_timeout_us": WAIT_SECONDS * 1_000_000,
    }
    with serving(repository, **settings) as process:
        answers = await flood(process.target)
        codes = Counter(code for code, _ in answers)
        assert codes.keys() == {Status.OK, Status.RESOURCE_EXHAUSTED}
        assert codes[Status.OK] >= room
        refused = [seconds for code, seconds in answers if code is not Status.OK]
        assert statistics.median(refused) < WAIT_SECONDS


async def test_very_many_connections_of_http_are_each_answered_or_refused(shared) -> None:
    async def one(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("localhost", port)
        try:
            writer.write(
                b"POST /v1/classify/text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Content-Length: 4\r\n\r\ntext"
            )
            return (await reader.read())[9:12]
        except ConnectionResetError:  # it was refused before it had sent
            return b"503"
        finally:
            writer.close()

    async with asyncio.timeout(PATIENT_SECONDS):
        port = int(shared.url.rpartition(":")[2])
        statuses = Counter(await asyncio.gather(*(one(port) for _ in range(CALLS // 2))))
    assert statuses.keys() <= {b"200", b"429", b"503"}
    assert statuses[b"200"] > 0
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{shared.url}/healthz")).status_code == 200


def test_sigterm_answers_all_that_is_in_flight_and_leaves_nothing(repository) -> None:
    calls, batch = 32, 64
    settings = {"max_batch_size": batch, "batch_timeout_us": 1_000_000}
    with (
        serving(repository, **settings) as process,
        grpc.insecure_channel(process.target) as channel,
    ):
        stub = ClassifierStub(channel)
        assert process.child.pid in process.group()
        futures = [stub.Classify.future(request(f"text {i}")) for i in range(calls)]
        stub.GetModel(GetModelRequest(model="text"))  # so that they have arrived
        process.child.send_signal(signal.SIGTERM)
        answers: list[ClassifyResponse] = [future.result(PATIENT_SECONDS) for future in futures]
        answered = time.perf_counter()
        assert [len(answer.results[0].labels) for answer in answers] == [2] * calls
        assert process.child.wait(PATIENT_SECONDS) == 0
        assert time.perf_counter() - answered < END_SECONDS
        assert process.group() == []
