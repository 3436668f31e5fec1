"""What new versions of one network cost those who call another.

    python -m benchmarks.reload                                            # some three minutes
    python -m benchmarks.reload --reloaded resnet50 --called resnet20 --reloads 4

While callers of one network never stop, versions of another are published and loaded, each of a
SavedModel that the server has never seen, and the one before is unloaded. The 99th percentile of
these calls during a reload is to stay within twice that between two. The server is a process of its
own, with a cache of its own that is empty at first.
"""

import argparse
import asyncio
import hashlib
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import platformdirs
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.machine import machine, one_line
from benchmarks.networks import publish, side
from benchmarks.processes import resident_mb
from benchmarks.triptych_server import TriptychServer
from protos.triptych.v1 import manifest_pb2

CALLERS = 2
QUIET_SECONDS = 4.0  # between two reloads
AFTER_SECONDS = 0.5  # in which the version before is unloaded
MANIFEST = "assets.extra/manifest.json"
UNKNOWN_FIELD = b"\xc0\xa9\x07"  # of a protocol buffer, a number: who reads it passes it over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reloaded", default="resnet50,mobilenet_v2")
    parser.add_argument("--called", default="resnet20")
    parser.add_argument("--reloads", type=int, default=4)
    parser.add_argument(
        "--cache", type=Path, default=platformdirs.user_cache_path("triptych-bench") / "reload"
    )
    parser.add_argument("--json", type=Path, help="write the numbers there")
    given = parser.parse_args()
    measured: dict[str, Any] = {"machine": machine(), "reloaded": {}}
    print(one_line(measured["machine"]))
    print(f"{given.called}, {CALLERS} in flight  p50 ms    p99 ms   slowest   over 20 ms")
    for network in given.reloaded.split(","):
        found = run(network, given.called, given.reloads, given.cache)
        measured["reloaded"][network] = found
        report(network, found)
    if given.json:
        given.json.write_text(json.dumps(measured, indent=1))


def run(network: str, called: str, reloads: int, cache: Path) -> dict[str, Any]:
    """Returns: seconds of each call between reloads and during them, of each reload; megabytes."""
    made, logs = cache / "repositories", cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    publish(made, [network, called])
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "repository"
        shutil.copytree(made / called, root / called)
        new_version(made / network / "1", root / network, 1)
        with TriptychServer(root, Path(place) / "cache", logs / "serve.log") as server:
            versions = made / network / "1", root / network
            return asyncio.run(measure(server, question(called), *versions, reloads))


async def measure(
    server: TriptychServer, request: Any, source: Path, model: Path, reloads: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"between": [], "during": [], "reload": []}
    found["megabytes"] = [resident_mb(server.pid)]
    calls: list[tuple[float, float]] = []  # when it began, and for how long it took
    ending = asyncio.Event()
    async with grpc.aio.insecure_channel(server.server) as channel, asyncio.TaskGroup() as group:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(CALLERS):
            group.create_task(call(stub, request, calls, ending))
        await asyncio.sleep(QUIET_SECONDS)
        for version in range(2, reloads + 2):
            began = time.perf_counter()
            await asyncio.sleep(QUIET_SECONDS)
            found["between"] += [took for at, took in calls if at >= began]
            await asyncio.to_thread(new_version, source, model, version)
            began = time.perf_counter()
            wish = service_pb2.RepositoryModelLoadRequest(model_name=model.name)
            await stub.RepositoryModelLoad(wish)
            found["reload"].append(time.perf_counter() - began)
            await asyncio.sleep(AFTER_SECONDS)
            found["during"] += [took for at, took in calls if at >= began]
            await asyncio.to_thread(shutil.rmtree, model / str(version - 1))
            found["megabytes"].append(resident_mb(server.pid))
        ending.set()
    return found


async def call(stub: Any, request: Any, calls: list[Any], ending: asyncio.Event) -> None:
    while not ending.is_set():
        began = time.perf_counter()
        await stub.ModelInfer(request)
        calls.append((began, time.perf_counter() - began))


def question(network: str) -> Any:
    size = side(network)
    request = service_pb2.ModelInferRequest(model_name=network)
    request.inputs.add(name="examples", datatype="FP32", shape=[1, size, size, 3])
    values = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    request.raw_input_contents.append(values.tobytes())
    return request


def new_version(source: Path, model: Path, number: int) -> None:
    """A copy that differs in a field which nobody knows, and so in its digest."""
    folder = model / f".tmp-{number}"
    shutil.copytree(source, folder)
    graph = folder / "saved_model.pb"
    content = graph.read_bytes() + UNKNOWN_FIELD + bytes([number])
    graph.write_bytes(content)
    manifest = json_format.Parse((folder / MANIFEST).read_text(), manifest_pb2.Manifest())
    for file in manifest.files:
        if file.path == graph.name:
            file.bytes, file.sha256 = len(content), hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json_format.MessageToJson(manifest))
    folder.rename(model / str(number))


def report(network: str, found: dict[str, Any]) -> None:
    p99 = {}
    for when in ("between", "during"):
        times = np.array(found[when]) * 1e3
        p50, p99[when] = np.percentile(times, (50, 99))
        slow = f"{np.sum(times > 20):5} of {len(times):,}"
        print(f"{when:>20} {p50:10.1f} {p99[when]:9.1f} {times.max():9.1f} {slow:>16}")
    reloads = found["reload"]
    print(
        f"{network}, reloads of {min(reloads):.1f} to {max(reloads):.1f} s: p99 "
        f"{p99['during'] / p99['between']:.2f}x; server {found['megabytes'][0]:.0f} MB before, "
        f"{found['megabytes'][-1]:.0f} after"
    )


if __name__ == "__main__":
    main()
