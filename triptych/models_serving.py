"""`triptych models serving`: what a server has."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from triptych.console import fail, hint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protos.triptych.v1 import classifier_pb2, manifest_pb2

EXAMPLE = "Example: triptych models serving cifar10 --server localhost:8500"
MOST_LABELS = 20  # of those that are shown


def command(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
    server: Annotated[str, typer.Option(metavar="HOST:PORT")] = "localhost:8500",
    as_json: Annotated[bool, typer.Option("--json", help="JSON, as the protocol has it.")] = False,
) -> None:
    """List the models of a server, or show one with its versions and measures."""
    import asyncio

    import grpc
    from google.protobuf import json_format

    from triptych.client import ServerAbsent

    try:
        answer = asyncio.run(_ask(server, name))
    except ServerAbsent as error:
        fail(error, 3)
    except grpc.aio.AioRpcError as error:
        fail(error.details() or error.code().name)
    if as_json:
        fields = json_format.MessageToDict(answer, preserving_proto_field_name=True)
        typer.echo(json.dumps(fields, ensure_ascii=False))
    elif name is None:
        _list(answer)
    else:
        _show(answer)


async def _ask(
    server: str, name: str | None
) -> "classifier_pb2.ListModelsResponse | classifier_pb2.GetModelResponse":
    import grpc

    from protos.triptych.v1 import classifier_pb2
    from triptych.client import channel_options, connect

    async with grpc.aio.insecure_channel(server, options=channel_options(server)) as channel:
        stub = await connect(channel, server)
        if name is None:
            return await stub.ListModels(classifier_pb2.ListModelsRequest(), timeout=30)
        return await stub.GetModel(classifier_pb2.GetModelRequest(model=name), timeout=30)


def _list(answer: "classifier_pb2.ListModelsResponse") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "domain", "versions", "classes"):
        table.add_column(column, justify="right" if column == "classes" else "left")
    for model in answer.models:
        versions = ", ".join(map(str, model.versions)) or "none is ready"
        table.add_row(model.name, _domain(model.domain), versions, str(model.classes))
    Console().print(table)
    hint("`triptych models serving NAME` shows one in full")


def _show(answer: "classifier_pb2.GetModelResponse") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from protos.triptych.v1 import classifier_pb2

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    manifest = answer.manifest
    if answer.HasField("manifest"):
        options = ", ".join(f"{k}={_number(v)}" for k, v in manifest.architecture.options.items())
        data = manifest.dataset
        rows = {
            "name": answer.name,
            "architecture": f"{manifest.architecture.name} {options}".strip(),
            "parameters": f"{manifest.parameters:,} ({manifest.trainable_parameters:,} trainable)",
            "input": _fields(manifest.input),
            "labels": _labels(manifest.labels),
            "data set": ", ".join(filter(None, (data.name, _examples(data), data.licence))),
            "trained by": manifest.command,
        }
        rows |= {
            f"{m.name} ({m.split})": f"{m.value:.2%} of {m.examples:,}" for m in manifest.measures
        }
        for key, value in rows.items():
            table.add_row(key, Text(value))
    for version in answer.versions:
        state = classifier_pb2.VersionStatus.State.Name(version.state)
        detail = " ".join(filter(None, (state, version.executor, version.reason)))
        table.add_row(f"version {version.version}", Text(detail))
        for key, value in _measured(version):
            table.add_row(key, Text(value))
    Console().print(table)


def _labels(labels: "Sequence[str]") -> str:
    others = len(labels) - MOST_LABELS
    shown = ", ".join(labels[:MOST_LABELS])
    return f"{shown} and {others:,} others, which --json has" if others > 0 else shown


def _measured(version: "classifier_pb2.VersionStatus") -> "Iterator[tuple[str, str]]":
    """What was found out when it was loaded."""
    if version.precision:
        off = ""
        if version.HasField("precision_difference"):
            off = f"; bf16 is {version.precision_difference:.2g} off in the worst score"
        best = f", best in batches of {version.best_batch_size}" if version.best_batch_size else ""
        yield "  computed", f"in {version.precision}{best}{off}"
    executors: dict[str, list[str]] = {}
    for speed in version.speeds:
        rate = f"{speed.examples_per_second:,.0f} by {speed.batch_size}"
        executors.setdefault(speed.executor, []).append(rate)
    for executor, rates in executors.items():
        yield f"  {executor}", f"examples/s, alone: {', '.join(rates)}"
    for note in version.notes:
        yield "  note", note


def _examples(data: "manifest_pb2.Dataset") -> str:
    """None are known of weights that were imported."""
    return f"{data.train_examples:,} training examples" if data.train_examples else data.source


def _number(value: object) -> object:
    """A Struct keeps every number as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _fields(spec: "manifest_pb2.InputSpec") -> str:
    kind = spec.WhichOneof("kind")
    if kind is None:
        return "-"
    fields = getattr(spec, kind).ListFields()
    return ", ".join([kind, *(f"{field.name} {value}" for field, value in fields)])


def _domain(number: int) -> str:
    from protos.triptych.v1 import manifest_pb2

    return manifest_pb2.Domain.Name(number).removeprefix("DOMAIN_").lower()
