"""`triptych bench`: how fast a running server is, triptych's or another."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triptych.console import fail, hint

if TYPE_CHECKING:
    from rich.table import Table

    from triptych.loadgen.closed_loop import Load
    from triptych.loadgen.plan import Plan, Wanted

EXAMPLE = "Example: triptych bench cifar10 --protocol oip --concurrency 1,8,32 --seconds 5"
MOST_IN_FLIGHT = 4096
STILL_GROWS = 1.1  # from one load to the next
LONG_TAIL = 2.0  # p99 of p50
FEW = 100  # answers, too few for a 99th percentile


class ProtocolName(StrEnum):
    TRIPTYCH = "triptych"
    OIP = "oip"
    TFSERVING = "tfserving"


def command(
    model: Annotated[str, typer.Argument(help="The model's name on the server.")],
    server: Annotated[str, typer.Option(metavar="HOST:PORT")] = "localhost:8500",
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="Of triptych, Open Inference (Triton, KServe, ...), TensorFlow Serving."),
    ] = ProtocolName.TRIPTYCH,
    concurrency: Annotated[
        str, typer.Option(metavar="N,N,...", help="Requests in flight, one load after another.")
    ] = "1,8,32",
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Each load, after a second to warm up.")
    ] = 5.0,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Inputs in one request.")] = 1,
    files: Annotated[
        list[Path] | None,
        typer.Option("--input", metavar="FILE", help="Send these, encoded as they are; repeat it."),
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="Send this sentence; repeat it.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="All on one stream instead of a call each.")
    ] = False,
    model_version: Annotated[int | None, typer.Option(min=0, help="Default: the newest.")] = None,
    any_size: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="For a tensor's axes that may have any size.")
    ] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each load.")] = False,
) -> None:
    """Load a running server, and say how many requests a second it answers, and how soon.

    Each request is sent as soon as one is answered, so that always as many are
    in flight. Without --input and --text, what is sent is made up from what the
    server says of the model: tensors, or with --protocol triptych files. The
    load generator shares this machine's processors with a server on it.
    """
    import asyncio

    import grpc

    from triptych.client import ServerAbsent
    from triptych.loadgen.plan import CannotPlan, Wanted

    loads = _numbers(concurrency)
    wanted = Wanted(model, _read(files or [], texts or []), batch, model_version, any_size)
    try:
        asyncio.run(_bench(server, protocol.value, wanted, loads, seconds, stream, as_json))
    except ServerAbsent as error:
        fail(error, 3)
    except CannotPlan as error:
        fail(error, 2)
    except grpc.aio.AioRpcError as error:
        reason = error.details() or error.code().name
        fail(f"{server} does not say what {model!r} takes by {protocol.value}: {reason}")


def _numbers(text: str) -> list[int]:
    numbers = [int(word) for word in text.split(",") if word.strip().isdecimal()]
    if len(numbers) != text.count(",") + 1 or not all(1 <= n <= MOST_IN_FLIGHT for n in numbers):
        fail(f"--concurrency {text}: write it as 1,8,32, each from 1 to {MOST_IN_FLIGHT}", 2)
    return numbers


def _read(files: list[Path], texts: list[str]) -> list[bytes | str]:
    from triptych.client import sources

    contents = []
    for source in sources(files, texts):
        if source.content is None:
            fail(f"{source.name}: {source.problem}", 2)
        contents.append(source.content)
    return contents


async def _bench(
    server: str,
    protocol: str,
    wanted: "Wanted",
    concurrency: list[int],
    seconds: float,
    stream: bool,
    as_json: bool,
) -> None:
    from triptych.loadgen.closed_loop import WARM_UP_SECONDS
    from triptych.loadgen.measure import Terms, measure

    loads: list[Load] = []
    plan = None
    terms = Terms(concurrency, seconds, stream, min(seconds, WARM_UP_SECONDS))
    async for plan, load in measure(server, protocol, wanted, terms):
        loads.append(load)
        if as_json:
            sent = {"protocol": protocol, "model": wanted.model, "batch": wanted.batch}
            what = {"stream": stream, "bytes_a_request": plan.bytes_a_request}
            typer.echo(json.dumps(sent | what | load.as_json()))
        else:
            hint(f"{load.concurrency} in flight: {load.inputs_per_second:,.1f} inputs/s")
    assert plan is not None
    if not as_json:
        _print(plan, loads, f"{wanted.model} by {protocol}{', one stream' if stream else ''}")
    if not any(load.requests for load in loads):
        reason = next((load.first_error for load in loads if load.first_error), "no answer")
        fail(f"not one request was answered: {reason}")


def _print(plan: "Plan", loads: "list[Load]", title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    size = f"{plan.bytes_a_request:,} bytes"
    console.print(f"{title}: {plan.what}, {plan.inputs} a request, {size}", markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("in flight", "requests/s", "inputs/s", "p50 ms", "p90", "p99", "max", "errors")
    for column in columns:
        table.add_column(column, justify="right")
    for load in loads:
        rates = (f"{load.requests_per_second:,.1f}", f"{load.inputs_per_second:,.1f}")
        times = (load.p50_ms, load.p90_ms, load.p99_ms, load.max_ms)
        errors = f"{sum(load.errors.values()):,}"
        table.add_row(str(load.concurrency), *rates, *map(_ms, times), errors)
    console.print(table)
    if any(load.account for load in loads):
        console.print()
        console.print(_account(loads))
        hint("medians, as the server tells; the rest: gRPC, and this load generator")
    for load in loads:
        for code, count in load.errors.items():
            console.print(f"{load.concurrency} in flight: {count:,} x {code}", markup=False)
        if load.first_error:
            console.print(f"  the first: {load.first_error[:300]}", markup=False)
    hint(_next_step(loads))


def _account(loads: "list[Load]") -> "Table":
    """The server's own."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("in flight", justify="right")
    for column in ("queue ms", "decode", "compute", "the rest", "batch"):
        table.add_column(column, justify="right")
    for load in loads:
        account = load.account
        if not account or load.p50_ms is None:
            continue
        known = [account.get(f"{part}-us", 0.0) / 1e3 for part in ("queue", "decode", "compute")]
        rest = max(0.0, load.p50_ms - sum(known))
        batch = f"{account.get('batch-size', 0):.0f}"
        table.add_row(str(load.concurrency), *map(_ms, (*known, rest)), batch)
    return table


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _next_step(loads: "list[Load]") -> str:
    """What is most worth to look at."""
    last = loads[-1]
    codes = {code for load in loads for code in load.errors}
    if codes & {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}:
        return "requests were refused: send fewer at once, or raise TRIPTYCH_MAX_QUEUE_SIZE"
    if codes:
        return "not all was answered: times and rates are of what was"
    if last.requests < FEW:
        return f"p99 of {last.requests} answers says little: try --seconds {int(last.seconds * 4)}"
    account = last.account
    if account.get("decode-us", 0) > max(account.get("compute-us", 0), account.get("queue-us", 0)):
        return "decoding takes most: send tensors (--protocol oip), or smaller files"
    if len(loads) > 1 and last.inputs_per_second > STILL_GROWS * loads[-2].inputs_per_second:
        return f"it still grows: try --concurrency {last.concurrency * 2}"
    if last.p50_ms and last.p99_ms and last.p99_ms > LONG_TAIL * last.p50_ms:
        return "one in a hundred waits long: is something else running on this machine?"
    return "`--json` keeps it; `triptych models serving MODEL` tells what the executor does alone"
