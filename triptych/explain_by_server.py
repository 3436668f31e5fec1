"""`triptych explain --server`: asked of a running server, which needs no TensorFlow here."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from triptych.client import (
    Explanation,
    NoModel,
    NotExplained,
    Options,
    ServerAbsent,
    Source,
    explain,
)
from triptych.console import fail, hint


def ask(
    server: str,
    model: str,
    items: Sequence[tuple[str, bytes | str]],
    methods: Sequence[str],
    label: str | None,
    target: Callable[[str, str], Path | None],
    as_json: bool,
) -> None:
    """Each input by each method, a line for each.

    Args: target: of an input's name and a method: the picture's file.
    """
    from pipelines.whole_file import write_file

    options = Options(model or None)
    for name, content in items:
        for method in methods:
            try:
                found = asyncio.run(explain(server, Source(name, content), options, method, label))
            except ServerAbsent as error:
                fail(error, 3)
            except (NoModel, NotExplained) as error:
                fail(f"{name}: {error}")
            path = target(name, method)
            if path is not None:
                try:
                    write_file(path, found.png)
                except OSError as error:
                    fail(error)
            said = f"{path}  {method}, {found.label} {found.score:.3f}"
            typer.echo(_line(name, found) if as_json else said)
    if not as_json:
        hint("next: --class LABEL explains another one; without --server there are more methods")


def _line(name: str, found: Explanation) -> str:
    about = {
        "input": name,
        "model": found.model,
        "version": found.version,
        "method": found.method,
        "class": found.label,
        "score": found.score,
        "shape": found.shape,
        "values": list(found.values),
    }
    if found.tokens:
        about["tokens"] = list(found.tokens)
    return json.dumps(about, ensure_ascii=False)
