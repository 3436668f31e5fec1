"""How close to the machine's limit `triptych serve` is: executor, empty call and server, in turn.

    python -m benchmarks.serving                                       # about half an hour
    python -m benchmarks.serving --networks resnet20 --rounds 1 --seconds 2

Each round measures, one after another: (a) the executor alone, at its best batch size and with one
image; (b) an empty grpc.aio call of the same size, and one that computes; (c) the server with 1, 8
and 32 requests in flight, as tensors by two protocols and as files by triptych's own. Server, load
generator and executor are processes of their own. docs/performance.md tells what the limit L is.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from benchmarks.machine import machine, one_line
from benchmarks.networks import ROOT, SHIPPED, files, publish
from benchmarks.processes import Child, Process, free_port, resident_mb
from benchmarks.serving_report import plot, print_report, shares
from benchmarks.triptych_server import TriptychServer

NETWORKS = "resnet20,mobilenet_v2,resnet50,digits,questions"
SHIPPED_MODELS = ROOT / "model_repository"
BATCH = 16  # images, in a request of many
WARM_UP_SECONDS = 1.0
MESSAGE_BYTES = 64  # of a request beside its tensor, about


class Way(NamedTuple):
    """To ask the server. size: whose empty call it is compared with, and how many images in it."""

    protocol: str
    in_flight: int
    size: str = "tensor"
    batch: int = 1
    stream: bool = False

    @property
    def name(self) -> str:
        what = "files" if self.size == "file" else "tensors"
        many = f", {self.batch} a request" if self.batch > 1 else ""
        return f"{self.protocol} {what}{many}{', stream' if self.stream else ''}"


# fmt: off
TENSORS = (
    *(Way("oip", n) for n in (1, 8, 32)),
    *(Way("tfserving", n) for n in (1, 8, 32)),
    Way("oip", 4, "tensors", BATCH),
    Way("oip", 32, stream=True),
)
FILES = (
    *(Way("triptych", n, "file") for n in (1, 8, 32)),
    Way("triptych", 32, "file", stream=True),
)
# fmt: on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--executor", default="auto")
    parser.add_argument("--precision", default="f32", help="auto: bf16 where it is admitted")
    parser.add_argument(
        "--cache", type=Path, default=platformdirs.user_cache_path("triptych-bench")
    )
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--out", type=Path, help="draw the plot there, as docs/images/serving.png")
    given = parser.parse_args()
    measured = run(
        given.networks.split(","),
        given.rounds,
        given.seconds,
        given.cache,
        given.executor,
        given.precision,
    )
    measured["shipped"] = shipped(given.cache, given.executor)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(measured, indent=1))
    print_report(measured)
    if given.out:
        plot(measured, given.out)


def run(
    networks: list[str],
    rounds: int,
    seconds: float,
    cache: Path,
    executor: str = "auto",
    precision: str = "f32",
) -> dict[str, Any]:
    """Returns: what `print_report` takes, and JSON too."""
    logs = cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    measured: dict[str, Any] = {"machine": machine(), "seconds": seconds, "networks": {}}
    print(one_line(measured["machine"]), file=sys.stderr)
    for network in networks:
        # A server of this model alone, as its neighbours would be measured with it.
        repository = cache / "repositories" / network
        publish(repository, [network])
        with ExitStack() as stack:
            bench = _Bench(stack, network, repository, cache, seconds, executor, precision)
            done = []
            for turn in range(rounds):
                print(f"{network}, round {turn + 1} of {rounds}", file=sys.stderr)
                done.append(bench.round())
            measured["networks"][network] = bench.about | {"rounds": done}
    measured["shares"] = shares(measured)
    return measured


def shipped(cache: Path, executor: str = "auto") -> dict[str, float]:
    """Of a server of the models that are shipped, started a second time."""
    for _ in range(2):
        with TriptychServer(
            SHIPPED_MODELS, cache / "triptych", cache / "logs/shipped.log", executor
        ) as one:
            found = {"ready_seconds": one.ready_seconds, "resident_mb": resident_mb(one.pid)}
    return found


class _Bench:
    """One network's processes: the executor, an empty server for each size, triptych, the load."""

    def __init__(
        self,
        stack: ExitStack,
        network: str,
        repository: Path,
        cache: Path,
        seconds: float,
        executor: str,
        precision: str,
    ) -> None:
        logs = cache / "logs"
        self._seconds = seconds
        self._network = network
        self._files = [str(path.resolve()) for path in files(network, cache / "inputs")]
        self._load = stack.enter_context(Child("benchmarks.load", logs / "load.log"))
        start = stack.enter_context(
            TriptychServer(repository, cache / "triptych", logs / "serve.log", executor, precision)
        )
        self._server = start
        arguments = (str(repository / network / "1"), str(cache / "triptych"), executor, precision)
        self._bare = stack.enter_context(
            Child("benchmarks.bare", logs / "bare.log", *arguments, *self._files)
        )
        self.about = self._bare.ask(what="describe")
        self.about["ready_seconds"] = start.ready_seconds
        self.about["resident_mb"] = resident_mb(start.pid)
        speeds = self.about["speeds"][f"{self.about['executor']} {self.about['precision']}"]
        # JSON has made strings of the sizes.
        self._best = int(max(speeds, key=lambda size: speeds[size], default=1))
        self._speed = max(speeds.values(), default=1.0)
        self._ways = FILES if network in SHIPPED else TENSORS + FILES
        self._computing = self._bare.ask(what="serve")["port"]
        self._tensor = tensor = self.about["example_bytes"] + MESSAGE_BYTES
        sent = {"tensor": tensor, "tensors": tensor * BATCH, "file": self.about["file_bytes"]}
        self._empty = {
            size: (sent[size], *_empty_server(stack, self.about["answer_bytes"] * many, logs))
            for size, many in (("tensor", 1), ("tensors", BATCH), ("file", 1))
            if any(way.size == size for way in self._ways)
        }

    def round(self) -> dict[str, Any]:
        compute = {"what": "compute", "seconds": self._seconds}
        done: dict[str, Any] = {
            "bare": self._bare.ask(**compute, batch=self._best) | {"batch": self._best},
            "alone": self._bare.ask(**compute, batch=1, alone=True),
            "decode": self._bare.ask(what="decode", seconds=self._seconds / 2),
            "empty": [],
            "loads": [],
        }
        for size, (sent, port, server) in self._empty.items():
            for in_flight in sorted({way.in_flight for way in self._ways if way.size == size}):
                done["empty"].append(self._call(port, server, sent, in_flight) | {"size": size})
        done["computing"] = self._call(self._computing, self._bare, self._tensor, in_flight=1)
        for way in self._ways:
            due = way.in_flight * way.batch / self._speed
            load = self._load.ask(
                kind=way.protocol,
                server=self._server.server,
                pid=self._server.pid,
                model=self._network,
                concurrency=way.in_flight,
                seconds=max(self._seconds, 4 * due),
                warm_up_seconds=max(min(WARM_UP_SECONDS, self._seconds), 2 * due),
                batch=way.batch,
                stream=way.stream,
                files=self._files if way.size == "file" else None,
            )
            done["loads"].append(load | way._asdict() | {"way": way.name})
        return done

    def _call(self, port: int, server: Process, sent: int, in_flight: int) -> dict[str, Any]:
        return self._load.ask(
            kind="empty",
            server=f"127.0.0.1:{port}",
            pid=server.pid,
            sent=sent,
            concurrency=in_flight,
            seconds=self._seconds,
            warm_up_seconds=min(WARM_UP_SECONDS, self._seconds),
        )


def _empty_server(stack: ExitStack, answer_bytes: int, logs: Path) -> tuple[int, Process]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.empty_call", str(port), str(answer_bytes)]
    return port, stack.enter_context(Process(command, logs / "empty.log"))


if __name__ == "__main__":
    main()
