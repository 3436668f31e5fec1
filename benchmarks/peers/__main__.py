"""triptych and other servers with the same SavedModel, tensors and load generator, in one run.

    python -m benchmarks.peers              # all of them, which takes the better part of an hour
    python -m benchmarks.peers triptych kserve --networks resnet20 --rounds 1

Each peer has its own virtual environment, made at first use, and serves the SavedModel's `predict`
by TensorFlow in the best form that its documents show, with its own batching (*_peer.py here). In
each round each server is started, loaded and ended, so that none runs beside another. Printed are
images/s as median (least to most) of the rounds, with 1, 8 and 32 requests of one image in flight.
"""

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import platformdirs

from benchmarks.machine import machine
from benchmarks.networks import publish, side
from benchmarks.peers.catalogue import CONTENDERS, PEERS, Contender
from benchmarks.peers.environment import python_of, versions
from benchmarks.peers.report import print_report
from benchmarks.processes import Child, Process, Refused, free_port
from benchmarks.triptych_server import TriptychServer

HERE = Path(__file__).parent
NETWORKS = "resnet20,mobilenet_v2,resnet50"
CONCURRENCY = (1, 8, 32)
MAX_BATCH_SIZE = 32
WARM_UP_SECONDS = 3.0
PATIENCE_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--threads", type=int, help="of TensorFlow's operations, for all peers")
    parser.add_argument("--instances", type=int, help="of the model, for all peers")
    parser.add_argument("--delay-us", type=int, help="that peers wait for a batch to fill")
    parser.add_argument(
        "--cache", type=Path, default=platformdirs.user_cache_path("triptych-bench")
    )
    parser.add_argument("--out", type=Path, help="write the numbers there, as JSON")
    given = parser.parse_args()
    if unknown := set(given.names) - set(CONTENDERS):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(CONTENDERS)}")
    own = {name: getattr(given, name) for name in ("threads", "instances", "delay_us")}
    changes = {key: value for key, value in own.items() if value is not None}
    contenders = {
        name: CONTENDERS[name]._replace(**changes if name in PEERS else {})
        for name in given.names or CONTENDERS
    }
    measured = run(contenders, given.networks.split(","), given.rounds, given.seconds, given.cache)
    if given.out:
        given.out.write_text(json.dumps(measured, indent=1))
    print_report(measured)


def run(
    contenders: dict[str, Contender], networks: list[str], rounds: int, seconds: float, cache: Path
) -> dict[str, Any]:
    """Returns: what `print_report` takes, and JSON too."""
    logs = cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    pythons = {
        name: python_of(cache / "venvs" / Path(one.script).stem, one.requirements)
        for name, one in contenders.items()
    }
    publish(cache / "repository", networks)
    measured: dict[str, Any] = {"machine": machine(), "contenders": {}, "loads": []}
    for name, one in contenders.items():
        found = versions(pythons[name])
        packages = [r.split("=")[0].split("[")[0] for r in one.requirements]
        measured["contenders"][name] = one._asdict() | {
            "versions": {package: found[package] for package in packages}
        }
    with Child("benchmarks.load", logs / "load.log") as load:
        for network in networks:
            for turn in range(rounds):
                for name, one in contenders.items():
                    print(f"{network}, round {turn + 1} of {rounds}: {name}", file=sys.stderr)
                    with ExitStack() as stack:
                        log = logs / f"{name}-{network}.log"
                        how = (stack, load, one, network, pythons[name], cache, log)
                        try:
                            ask = _start(*how)
                        except SystemExit as failed:  # an hour should not be lost by it
                            print(f"{failed}\n{name} is started once more", file=sys.stderr)
                            ask = _start(*how)
                        for concurrency in CONCURRENCY:
                            answer = load.ask(
                                **ask,
                                concurrency=concurrency,
                                seconds=seconds,
                                warm_up_seconds=WARM_UP_SECONDS,
                            )
                            about = {"network": network, "contender": name, "round": turn}
                            measured["loads"].append(about | answer)
    return measured


def _start(
    stack: ExitStack,
    load: Child,
    one: Contender,
    network: str,
    python: str,
    cache: Path,
    log: Path,
) -> dict[str, Any]:
    """Returns: what to ask the load generator for."""
    if not one.script:
        repository = cache / "repository"
        server = stack.enter_context(
            TriptychServer(repository, cache / "triptych", log, precision=one.precision)
        )
        return {"kind": "oip", "server": server.server, "model": network}
    port = free_port()
    shape = [side(network), side(network), 3]
    peer = {
        "saved_model": str((cache / "repository" / network / "1").resolve()),
        "model": network,
        "shape": shape,
        "port": port,
        "http_port": free_port(),
        "threads": one.threads,
        "instances": one.instances,
        "max_batch_size": MAX_BATCH_SIZE,
        "delay_us": one.delay_us,
    }
    environment = os.environ | {"PEER": json.dumps(peer), "PYTHONPATH": ""}
    process = stack.enter_context(
        Process([python, str(HERE / one.script)], log, environment, cache)
    )
    if one.http:
        url = f"http://127.0.0.1:{port}/predict"
        ask = {"kind": "http", "url": url, "shape": [1, *shape]}
    else:
        ask = {"kind": "oip", "server": f"127.0.0.1:{port}", "model": network}
    _wait(load, ask, process)
    return ask


def _wait(load: Child, ask: dict[str, Any], process: Process) -> None:
    """Until it answers what it will be asked."""
    end = time.monotonic() + PATIENCE_SECONDS
    said: object = "nothing"
    while time.monotonic() < end:
        process.require_running()
        try:
            answer = load.ask(**ask, concurrency=1, seconds=0.2, warm_up_seconds=0.2)
            if answer["requests"]:
                return
            said = answer["first_error"]
        except Refused as refused:
            said = refused
        time.sleep(0.5)
    raise SystemExit(f"no answer in {PATIENCE_SECONDS:g} s: {said}; its log: {process.log}")


if __name__ == "__main__":
    main()
