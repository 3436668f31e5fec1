"""What tests of `--workers` share: a supervisor in its own process, and who is behind its ports.

Who answers a connection is read from /proc, as the kernel knows it: no answer says so.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, Input, ListModelsRequest
from protos.triptych.v1.classifier_pb2_grpc import ClassifierStub

HOST = "127.0.0.1"
PATIENT_SECONDS = 120
MOST_CHANNELS = 64  # that all of them land on one of two workers is beyond chance
WORKERS = 2
ESTABLISHED = "01"

PROGRAM = """
import asyncio, json, sys
from serving.errors import TriptychError
from serving.settings import Settings
from serving.supervisor import supervise

def say(ready):
    print(json.dumps(ready), flush=True)

try:
    asyncio.run(supervise(Settings(**json.loads(sys.argv[1])), say))
except (TriptychError, OSError) as error:
    sys.exit(str(error))
"""


def command(repository: Path, **settings: object) -> list[str]:
    settings = {
        "repository": str(repository),
        "grpc_port": 0,
        "http_port": 0,
        "workers": WORKERS,
        "executor": "openvino",
        "measure_seconds": 0,
        "explain_nice": 0,
        "prepare_nice": 0,
        "cache": None,
    } | settings
    return [sys.executable, "-c", PROGRAM, json.dumps(settings)]


class Supervised:
    """A supervisor whose workers are ready."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        self.grpc_port, self.http_port, _ = json.loads(process.stdout.readline())

    def workers(self) -> set[int]:
        pid = self.process.pid
        return {int(word) for word in read(f"/proc/{pid}/task/{pid}/children").split()}

    def clients(self, port: int) -> dict[int, set[int]]:
        """Process of a worker -> the ports of those that are connected with it."""
        peers = {}
        for line in (read("/proc/net/tcp") + read("/proc/net/tcp6")).splitlines():
            _, local, remote, state, *_, inode = line.split()[:10]
            if state == ESTABLISHED and int(local.partition(":")[2], 16) == port:
                peers[f"socket:[{inode}]"] = int(remote.partition(":")[2], 16)
        return {
            pid: {peers[name] for name in links(f"/proc/{pid}/fd") if name in peers}
            for pid in self.workers()
        }

    def connect(self, stack: ExitStack) -> ClassifierStub:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(f"{HOST}:{self.grpc_port}", options)
        stack.enter_context(channel)
        stub = ClassifierStub(channel)
        stub.channel = channel
        return stub

    def connect_to_all(self, stack: ExitStack) -> list[ClassifierStub]:
        """As many channels as it takes until each worker has one; each had an answer."""
        stubs = []
        while not all(self.clients(self.grpc_port).values()):
            assert len(stubs) < MOST_CHANNELS
            stubs.append(self.connect(stack))
            stubs[-1].ListModels(ListModelsRequest(), timeout=PATIENT_SECONDS)
        return stubs

    def scrape(self) -> dict[int, dict[tuple[str, ...], float]]:
        """What each worker tells: (name, the values of its labels) -> value"""
        told = {}
        for _ in range(MOST_CHANNELS):
            connection = http.client.HTTPConnection(HOST, self.http_port, timeout=PATIENT_SECONDS)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            mine = connection.sock.getsockname()[1]
            (pid,) = (pid for pid, peers in self.clients(self.http_port).items() if mine in peers)
            connection.close()
            told[pid] = {
                (sample.name, *sample.labels.values()): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
            if told.keys() == self.workers():
                return told
        raise AssertionError(f"only {told.keys()} answered")


def read(path: str) -> str:
    return Path(path).read_text()


def links(folder: str) -> list[str]:
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)  # of the processors that others need meanwhile


def classify(stub: ClassifierStub, **options: object) -> object:
    request = ClassifyRequest(model="text", inputs=[Input(text="hello")])
    return stub.Classify(request, timeout=PATIENT_SECONDS, **options)


@contextmanager
def supervised(repository: Path, cache_home: Path, **settings: object) -> Iterator[Supervised]:
    process = subprocess.Popen(
        command(repository, **settings),
        env=os.environ | {"XDG_CACHE_HOME": str(cache_home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Supervised(process)
    finally:
        process.kill()
        # Which lasts until no worker holds standard error any more.
        process.communicate(timeout=PATIENT_SECONDS)


def explainers(parent: int | None = None) -> list[int]:
    """The processes that explain for this one, or another."""
    return side_processes("serving.explain_worker", parent)


def side_processes(module: str, parent: int | None = None) -> list[int]:
    """Those that run it, of this one, or another."""
    found = []
    for task in Path(f"/proc/{parent or os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            for pid in (task / "children").read_text().split():
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return sorted(found)
