"""`triptych models list`: what `train --model` takes, and what each costs.

Counting takes up to half a minute, so the figures are kept in the user's cache, for as long as
the networks' own source and Keras are the same.
"""

import gc
import hashlib
import json
import os
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from triptych.console import fail, hint, quantity

if TYPE_CHECKING:
    from models import Architecture
    from models.cost import Cost

EXAMPLE = "Example: triptych models list --domain image"

Row = dict[str, Any]


def command(
    domain: Annotated[
        Literal["image", "audio", "text"] | None,
        typer.Option(metavar="DOMAIN", help="image, audio or text."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list, with exact figures.")] = False,
) -> None:
    """List the networks with their parameters and multiply-adds, in the form of their papers.

    A sound has 100 frames here, a text 64 tokens out of 10,000.
    """
    key = _key()
    rows = _read(key)
    if rows is None:
        rows = _counted(domain)
        if domain is None:
            _write(key, rows)
    rows = [row for row in rows if domain in (None, row["domain"])]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        _show(rows)
        hint("exact figures: --json; layer by layer: `triptych models describe NAME`")


def _counted(domain: str | None) -> list[Row]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    with console.status("Starting TensorFlow"):
        try:
            from models import ARCHITECTURES
            from models.catalogue import priced
        except ImportError as error:
            fail(f"the networks need the extra: pip install 'triptych[cpu,train]' ({error})")
    chosen = {n: a for n, a in ARCHITECTURES.items() if domain in (None, a.domain)}
    counting = track(chosen.items(), "Counting", console=console, transient=True)
    gc.disable()  # a third of the time: it would look through all of TensorFlow again and again
    try:
        return [_row(name, architecture, priced(name)) for name, architecture in counting]
    finally:
        gc.enable()


def _row(name: str, architecture: "Architecture", cost: "Cost") -> Row:
    return {
        "name": name,
        "domain": architecture.domain,
        "parameters": cost.parameters,
        "trainable_parameters": cost.trainable,
        "multiply_adds": cost.multiply_adds,
        "input_shape": list(cost.input_shape),
        "classes": cost.steps[-1].output[-1],
        "paper": architecture.paper,
    }


def _show(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("domain")
    for column in ("params", "trained", "mult-adds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("input")
    table.add_column("paper")
    for row in rows:
        figures = (row["parameters"], row["trainable_parameters"], row["multiply_adds"])
        table.add_row(
            row["name"],
            row["domain"],
            *(quantity(figure, 4) for figure in figures),
            "x".join(map(str, row["input_shape"])),
            row["paper"],
        )
    Console().print(table)


def _key() -> str:
    """Another one when a figure may be another."""
    digest = hashlib.sha256()
    spec = util.find_spec("models")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.read_bytes())
    with suppress(metadata.PackageNotFoundError):
        digest.update(metadata.version("keras").encode())
    return digest.hexdigest()


def _file() -> Path:
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych/networks.json"
    )


def _read(key: str) -> list[Row] | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_file().read_text())
        if kept["key"] == key:
            return kept["rows"]
    return None


def _write(key: str, rows: list[Row]) -> None:
    """As good as none where there is no room for it, as in a read-only container."""
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        unfinished = _file().with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({"key": key, "rows": rows}))
        unfinished.replace(_file())
