"""`triptych batch`: a folder or table in, a data set of labels out; the same again goes on."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from triptych.console import OWN_PROCESS, fail, hint
from triptych.machine import machine

if TYPE_CHECKING:
    from pipelines.batch.events import Event, Summary
    from serving.runtime.decoding import Limits

EXAMPLE = (
    "Example: triptych batch cifar10 photos/ labels/\n\n"
    "On several machines: triptych batch cifar10 s3://bucket/photos s3://bucket/labels --engine ray"
)
MOST_LABELS = 12  # of the summary
LONG_INPUT_BYTES = 2**30  # that a recording or text may have which is cut into windows


def command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A name in --repository, or a SavedModel's folder.")],
    given: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Folder, pattern, list of paths, CSV, TSV, JSONL, Parquet, .tar, or -; here or an"
            " URL.",
        ),
    ],
    output: Annotated[
        str, typer.Argument(help="Folder or URL; that of a run that was cut off: it goes on.")
    ],
    repository: Annotated[
        Path | None, typer.Option(help="Folder NAME/VERSION/; default model_repository.")
    ] = None,
    kind: Annotated[
        Literal["parquet", "jsonl", "csv"], typer.Option("--format", help="Of the output.")
    ] = "parquet",
    top_k: Annotated[int, typer.Option(metavar="N", help="Labels for each input.", min=1)] = 5,
    all_scores: Annotated[
        bool, typer.Option("--all-scores", help="Add the scores of all labels.")
    ] = False,
    embed: Annotated[bool, typer.Option("--embed", help="Add the network's embedding.")] = False,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="A row for each N seconds of a sound or tokens of a text.", min=0.001
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(metavar="N", help="From a window to the next; default its length."),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Put neighbouring windows of one label together.")
    ] = False,
    tiles: Annotated[
        bool, typer.Option("--tiles", help="A row for each tile of a large picture.")
    ] = False,
    dense: Annotated[
        bool,
        typer.Option("--dense", help="A row for each window of a large picture, in one pass."),
    ] = False,
    heat_maps: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Draw the rows of --dense or --tiles over each picture."
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a table: of texts, or of paths.")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(help="Below which a list names files; default the list's own folder."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N inputs.", min=1)
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option(metavar="N", help="Give up after more; default: each is a row.", min=0),
    ] = None,
    shard_rows: Annotated[
        int, typer.Option(metavar="N", help="Inputs in a file of the output.", min=1)
    ] = 2000,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="ray: a cluster, or one of its own here.")
    ] = "local",
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Let a running server compute.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Threads, or of ray actors; default: all there are.", min=1),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="That compute; 1: this one itself. Default: another for a long run, or several.",
            min=1,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Default: the best that is measured.", min=1)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each event and the summary.")
    ] = False,
) -> None:
    """Classify all inputs of a folder, list, table or archive; a bad one is a row with its reason.

    Ends with 0 once each input has its row, 1 if it can't go on, 130 if it is interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if context.obj is OWN_PROCESS and engine == "local":
        from serving.lean import leave_out_training

        leave_out_training()
    try:
        from pipelines.batch.errors import BatchError
        from pipelines.batch.job import run
        from pipelines.batch.options import Job, Rows
    except ImportError as error:
        fail(f"batch needs the extra: pip install 'triptych[cpu,batch]' ({error})")
    computing, default_repository = machine()
    computing = replace(
        computing,
        threads=workers or computing.threads,
        processes=processes,
        actors=workers,
        batch_size=batch_size,
        limits=_limits(computing.limits, window),
    )
    job = Job(
        model,
        given,
        output,
        repository=repository or default_repository,
        kind=kind,
        column=column,
        root=root,
        limit=limit,
        shard_inputs=shard_rows,
        max_errors=max_errors,
        rows=Rows(top_k, all_scores, embed, window, hop, events, tiles, dense),
        heat_maps=heat_maps,
        machine=computing,
        engine=engine,
        server=server,
    )
    progress = _Lines() if as_json else _Bar()
    try:
        with progress:
            summary = run(job, progress.tell)
    except BatchError as error:
        fail(error)
    except KeyboardInterrupt:
        fail(f"interrupted: what {output} has stays, and the same command goes on", 130)
    if not as_json:
        _show(summary)


def _limits(limits: "Limits", window: float | None) -> "Limits":
    if window is None:
        return limits
    most = max(
        limits.max_input_bytes, LONG_INPUT_BYTES
    )  # then a sound or text may be of any length
    return replace(limits, max_input_bytes=most, max_characters=most)


class _Lines:
    """For programs."""

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def tell(self, event: "Event") -> None:
        content: dict[str, Any] = getattr(event, "as_json", lambda: asdict(event))()
        typer.echo(json.dumps(content, ensure_ascii=False))


class _Bar:
    """For people: what is done, how fast, and how long it still takes; to standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, rate="")
        self._errors = 0

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def tell(self, event: "Event") -> None:
        from pipelines.batch.events import Advanced, Started

        if isinstance(event, Started):
            for note in event.notes:
                hint(note)
            if event.done:
                hint(f"going on: {event.done:,} of {event.inputs:,} inputs are in {event.output}")
            self._progress.update(
                self._task,
                total=event.inputs,
                completed=event.done,
                description=f"{event.model}, version {event.version}",
            )
        elif isinstance(event, Advanced):
            self._errors += event.errors
            speed = self._progress.tasks[self._task].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            errors = f", {self._errors:,} errors" if self._errors else ""
            self._progress.update(self._task, advance=event.inputs, rate=f"{rate}{errors}")


def _show(summary: "Summary") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("label")
    table.add_column("rows", justify="right")
    labels = list(summary.labels.items())
    for label, rows in labels[:MOST_LABELS]:
        table.add_row(Text(label), f"{rows:,}")
    if len(labels) > MOST_LABELS:
        rest = sum(rows for _, rows in labels[MOST_LABELS:])
        table.add_row(f"{len(labels) - MOST_LABELS} others", f"{rest:,}")
    if summary.errors:
        table.add_row(Text("(errors)", style="red"), f"{summary.errors:,}")
    Console().print(table)
    if summary.new_inputs:
        typer.echo(
            f"{summary.new_inputs:,} inputs in {summary.seconds:.1f} s, "
            f"{summary.inputs_per_second:,.1f}/s, after {summary.start_seconds:.1f} s of start"
        )
        whole = sum(summary.stage_seconds.values())
        if whole:
            shares = [f"{stage} {s / whole:.0%}" for stage, s in summary.stage_seconds.items()]
            typer.echo(f"threads' time: {', '.join(shares)}")
    else:
        typer.echo(f"nothing to do: all {summary.inputs:,} inputs were done before")
    for name, reason in summary.first_errors:
        typer.secho(f"{name}: {reason}", fg=typer.colors.RED, err=True)
    hint(f"next: the rows are in {summary.output}/part-*; docs/batch.md has their columns")
