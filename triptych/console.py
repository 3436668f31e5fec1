"""How the verbs speak: results to standard output, everything else to standard error."""

from typing import NoReturn

import typer


def fail(message: object, code: int = 1) -> NoReturn:
    """One line that says what is wrong and what to do; never a stack trace."""
    typer.secho(f"triptych: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


def hint(message: str) -> None:
    typer.secho(message, dim=True, err=True)
