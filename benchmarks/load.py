"""The load generator in its own process, as in real life: asked by lines of JSON.

`python -m benchmarks.load` is started by the benchmarks; people use `triptych bench`.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from benchmarks.empty_call import METHOD
from benchmarks.http_calls import HttpCaller, http_plan
from benchmarks.processes import answer, core_seconds
from protos.triptych.v1.classifier_pb2 import ExplainRequest, Input
from triptych.client import channel_options
from triptych.loadgen.calls import UnaryCaller
from triptych.loadgen.closed_loop import Load, closed_loop
from triptych.loadgen.measure import Terms, measure
from triptych.loadgen.plan import Plan, Wanted

TIMEOUT_SECONDS = 120.0
EXPLAIN = "/triptych.v1.Classifier/Explain"


def respond(
    kind: str, pid: int = 0, files: Sequence[str] | None = None, **question: Any
) -> dict[str, Any]:
    """One load. pid: the server's, whose core-seconds are wanted too; files: to send."""
    watched = partial(core_seconds, pid) if pid else lambda: 0.0
    if files:
        question["files"] = [Path(path).read_bytes() for path in files]
    run = {"empty": _empty, "http": _http, "explain": _explain}.get(kind, partial(_protocol, kind))
    return asyncio.run(run(watched=watched, **question)).as_json()


async def _protocol(
    protocol: str,
    *,
    server: str,
    model: str,
    concurrency: int,
    seconds: float,
    warm_up_seconds: float,
    watched: Any,
    batch: int = 1,
    stream: bool = False,
    files: Sequence[bytes] = (),
) -> Load:
    wanted = Wanted(model, files, batch, timeout_seconds=TIMEOUT_SECONDS)
    terms = Terms([concurrency], seconds, stream, warm_up_seconds, watched)
    loads = [load async for _, load in measure(server, protocol, wanted, terms)]
    return loads[0]


async def _empty(
    *,
    server: str,
    sent: int,
    concurrency: int,
    seconds: float,
    warm_up_seconds: float,
    watched: Any,
) -> Load:
    plan = Plan(METHOD, (bytes(sent),), 1, lambda answered: None, "nothing")
    async with grpc.aio.insecure_channel(server, options=channel_options(server)) as channel:
        caller = UnaryCaller(channel, plan, TIMEOUT_SECONDS)
        return await closed_loop(
            caller, concurrency, seconds, warm_up_seconds=warm_up_seconds, watched=watched
        )


async def _explain(
    *,
    server: str,
    model: str,
    method: str,
    files: Sequence[bytes],
    concurrency: int,
    seconds: float,
    warm_up_seconds: float,
    watched: Any,
) -> Load:
    bodies = [
        ExplainRequest(model=model, method=method, input=Input(data=file)).SerializeToString()
        for file in files
    ]
    plan = Plan(EXPLAIN, tuple(bodies), 1, lambda answered: None, "an input to explain")
    async with grpc.aio.insecure_channel(server, options=channel_options(server)) as channel:
        caller = UnaryCaller(channel, plan, TIMEOUT_SECONDS)
        return await closed_loop(
            caller, concurrency, seconds, warm_up_seconds=warm_up_seconds, watched=watched
        )


async def _http(
    *,
    url: str,
    shape: list[int],
    concurrency: int,
    seconds: float,
    warm_up_seconds: float,
    watched: Any,
) -> Load:
    caller = HttpCaller(url, http_plan(tuple(shape)), TIMEOUT_SECONDS)
    try:
        return await closed_loop(
            caller, concurrency, seconds, warm_up_seconds=warm_up_seconds, watched=watched
        )
    finally:
        await caller.close()


if __name__ == "__main__":
    answer(respond)
