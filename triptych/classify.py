"""`triptych classify`: files and texts in, labels out."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triptych.console import fail, hint

if TYPE_CHECKING:
    from triptych.client import Answer, Options, Source

EXAMPLE = "Example: triptych classify photo.jpg sounds/ --text 'Who wrote Hamlet?'"
LONGEST_NAME = 26
PATIENCE_SECONDS = 2.0  # a shorter wait needs no progress shown


def command(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files, folders, or - for standard input.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="May be given again.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Default: the only one of the input's domain."),
    ] = None,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="Default: the newest.", min=1)
    ] = None,
    server: Annotated[str, typer.Option(metavar="HOST:PORT")] = "localhost:8500",
    top_k: Annotated[int, typer.Option(metavar="N", help="Labels for each input.", min=1)] = 5,
    min_score: Annotated[
        float, typer.Option(metavar="SCORE", help="Leave lower scores out.", min=0, max=1)
    ] = 0.0,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="For each call.", min=0.001, max=3600)
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each input.")] = False,
) -> None:
    """Classify files and texts with a running server.

    Ends with 0 if all were classified, 1 if some were not, 3 if no server answers.
    """
    import asyncio

    from triptych.client import Options, ServerAbsent, sources

    if not files and not text:
        fail("nothing to classify: give files, folders, - or --text (see --help)", 2)
    options = Options(model, version, top_k, min_score, timeout)
    inputs = sources(files or [], text or [])
    try:
        answers = asyncio.run(_collect(server, inputs, options, as_json))
    except ServerAbsent as error:
        fail(error, 3)
    if not as_json:
        show(answers)
        hint(
            "--json prints lines for programs; `triptych models serving` tells what the server has"
        )
    if any(answer.error for answer in answers):
        raise typer.Exit(1)


async def _collect(
    server: str, inputs: "Iterable[Source]", options: "Options", as_json: bool
) -> "list[Answer]":
    import asyncio

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from triptych.client import classify

    columns = (SpinnerColumn(), TextColumn("{task.completed} classified"), TimeElapsedColumn())
    console = Console(stderr=True)
    lines_show_it = as_json and sys.stdout.isatty()
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,  # to standard error, that is
        disable=lines_show_it or not console.is_terminal,
    )
    task = progress.add_task("", total=None)
    late = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, progress.start)
    answers = []
    try:
        async for answer in classify(server, inputs, options):
            answers.append(answer)
            progress.advance(task)
            if as_json:
                typer.echo(json_line(answer))
    finally:
        late.cancel()
        progress.stop()
    return answers


def json_line(answer: "Answer") -> str:
    """An answer as one line, without its end."""
    line = json.dumps(answer.as_json(), ensure_ascii=False)
    # Of a file name that is not UTF-8: Python's escape of a surrogate is JSON's too.
    return line.encode(errors="backslashreplace").decode()


def show(answers: "Sequence[Answer]") -> None:
    """A table: input, model, version, labels with scores, milliseconds."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("input", no_wrap=True)
    table.add_column("model", no_wrap=True)
    table.add_column("ver", justify="right")
    table.add_column("labels", overflow="fold", ratio=4)
    table.add_column("ms", justify="right")
    for answer in answers:
        labels = Text(", ".join(f"{label} {score:.3f}" for label, score in answer.labels))
        if answer.error is not None:
            labels = Text(answer.error, style="red")
        table.add_row(
            Text(_short(answer.name)),
            Text(answer.model or "-"),
            str(answer.version or "-"),
            labels,
            "-" if answer.milliseconds is None else f"{answer.milliseconds:.1f}",
        )
    Console().print(table)


def _short(name: str) -> str:
    name = "".join(character if character.isprintable() else " " for character in name)
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
