"""Reloads under load: a server process, real gRPC clients, and nobody notices but the version.

100 reloads take minutes and are marked `full`; a few run by default.
"""

import asyncio
import gc
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, Input
from protos.triptych.v1.classifier_pb2_grpc import ClassifierStub
from tests.serving.server_process import ServerProcess, server_process

WARM_UP_RELOADS = 4  # after which the allocators have what they will ever need
CALLERS = 2  # of each model
PATIENT_SECONDS = 30.0  # for a call that was lost
QUIET_CALLS = 100  # of the other model, between two reloads
MEMORY_MARGIN = 1.05
LEAK_MARGIN = 1.02  # of a hundred: a fifth of a megabyte each would be beyond it
P99_MARGIN = 2.0
# For the interpreter: ten turns of SWITCH_SECONDS, which a call of 4 ms feels.
TURN_SECONDS = 0.001
STALL_SECONDS = 0.2  # nothing holds the interpreter for so long
FEW_RELOADS = 6


class Callers:
    """Never stop calling their model, one call after another. A call that fails fails the test."""

    def __init__(self, stub: ClassifierStub, model: str, item: bytes | str) -> None:
        self._stub = stub
        content = Input(text=item) if isinstance(item, str) else Input(data=item)
        self._request = ClassifyRequest(model=model, inputs=[content])
        self.versions: list[list[int]] = [[] for _ in range(CALLERS)]  # by caller, in order
        self.seconds: list[float] = []

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for versions in self.versions:
                group.create_task(self._call(versions, ending))
            try:
                yield
            finally:
                ending.set()

    async def answers(self, count: int) -> None:
        """Waits for so many more."""
        wanted = len(self.seconds) + count
        while len(self.seconds) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def _call(self, versions: list[int], ending: asyncio.Event) -> None:
        while not ending.is_set():
            began = time.perf_counter()
            response = await self._stub.Classify(self._request, timeout=PATIENT_SECONDS)
            self.seconds.append(time.perf_counter() - began)
            assert not response.results[0].HasField("error")
            versions.append(response.version)


async def reload_under_load(
    server: ServerProcess, tiny, root: Path, reloads: int, kinds: int
) -> tuple[Callers, Callers, dict[str, list[float]], list[int]]:
    """
    Args:    kinds: of weights, which the versions have in turn.
    Returns: callers of what is reloaded, and of the other model; the latter's seconds between
    reloads and during them; bytes after each reload."""
    seconds: dict[str, list[float]] = {"quiet": [], "during": []}
    resident_bytes = []
    async with grpc.aio.insecure_channel(server.target) as channel:
        repository = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub = ClassifierStub(channel)
        text = Callers(stub, "text", tiny.item("text", 3))
        image = Callers(stub, "image", tiny.item("image", 3))
        async with text.calling(), image.calling():
            for version in range(2, reloads + 2):
                await image.answers(QUIET_CALLS)
                seconds["quiet"] += image.seconds[-QUIET_CALLS:]
                await asyncio.to_thread(tiny.publish, root, "text", version, seed=version % kinds)
                before = len(image.seconds)
                wish = service_pb2.RepositoryModelLoadRequest(model_name="text")
                await repository.RepositoryModelLoad(wish)
                seconds["during"] += image.seconds[before:]
                await asyncio.to_thread(shutil.rmtree, root / "text" / str(version - 1))
                resident_bytes.append(server.resident_bytes)
            await text.answers(2 * CALLERS)
    return text, image, seconds, resident_bytes


@pytest.mark.parametrize(
    ("reloads", "kinds"),
    [
        (FEW_RELOADS, 2),
        pytest.param(100, 1000, marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    ],
)
async def test_reloads_under_load(tiny, tmp_path, reloads, kinds, record_property) -> None:
    """Nothing is lost, memory comes back, and the other model's callers wait hardly longer, be it
    for weights that the server has never seen."""
    root = tmp_path / "repository"
    tiny.publish(root, "text", 1)
    tiny.publish(root, "image", 1)
    # Or a sweep through all that is here would count as a stall of the server.
    gc.collect()
    gc.freeze()
    with server_process(root, cache=tmp_path / "cache") as server:
        text, image, seconds, resident_bytes = await reload_under_load(
            server, tiny, root, WARM_UP_RELOADS + reloads, kinds
        )

    for versions in text.versions:
        assert versions == sorted(versions), "a caller was sent back to an older version"
    last = 1 + WARM_UP_RELOADS + reloads
    assert set().union(*text.versions) == set(range(1, last + 1))
    assert {versions[-1] for versions in text.versions} == {last}
    assert set().union(*image.versions) == {1}

    growth = resident_bytes[-1] / resident_bytes[WARM_UP_RELOADS - 1]
    p99 = {when: float(np.percentile(values, 99)) for when, values in seconds.items()}
    slowest = max(seconds["during"])
    counts = {when: len(values) for when, values in seconds.items()}
    record_property("p99_seconds", p99)
    record_property("resident_bytes", resident_bytes)
    print(f"\n{growth=:.3f} of {resident_bytes[-1]:,} bytes; {p99=} {slowest=:.3f} {counts=}")
    assert growth <= MEMORY_MARGIN
    if reloads > FEW_RELOADS:  # of fewer calls, the slowest in a hundred is chance
        assert p99["during"] <= P99_MARGIN * p99["quiet"] + TURN_SECONDS
        assert slowest <= STALL_SECONDS
        assert growth <= LEAK_MARGIN
