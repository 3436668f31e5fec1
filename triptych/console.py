"""How the verbs speak: results to standard output, everything else to standard error."""

import json
from typing import Any, NoReturn

import typer

# Of a command's context, where the process is the command line's own: what it does to the process,
# it does to nobody else.
OWN_PROCESS = object()


def fail(message: object, code: int = 1) -> NoReturn:
    """One line that says what is wrong and what to do; never a stack trace."""
    typer.secho(f"triptych: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


def hint(message: str) -> None:
    typer.secho(message, dim=True, err=True)


def quantity(number: int, digits: int = 3) -> str:
    """15,470,264,320 as "15.5 G"."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            decimals = max(0, digits - len(str(number // size)))
            return f"{number / size:.{decimals}f} {unit}"
    return f"{number} "


def key_value(text: str) -> tuple[str, Any]:
    """An option from the command line, as KEY=VALUE; the value is JSON, or else a word."""
    key, found, value = text.partition("=")
    if not found:
        fail(f"{text}: write it as KEY=VALUE", 2)
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
