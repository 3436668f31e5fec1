"""`triptych export`: a run becomes a version that a server can load."""

import os
from pathlib import Path
from typing import Annotated

import typer

from triptych.console import fail, hint

SAVED_MODEL = "saved_model.pb"
EXAMPLE = "Example: triptych export runs/cifar10 --repository model_repository"


def command(
    run: Annotated[
        Path,
        typer.Argument(
            help="A folder that `triptych train` made, or a version, to get more endpoints."
        ),
    ],
    repository: Annotated[Path, typer.Option(help="Where NAME/VERSION/ is written.")],
    name: Annotated[str | None, typer.Option(help="Default: the run folder's name.")] = None,
    dense: Annotated[
        bool,
        typer.Option("--dense", help="Add the endpoint that scores each window of a larger input."),
    ] = False,
    embed: Annotated[
        bool, typer.Option("--embed", help="Add the endpoint that `batch --embed` asks.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the endpoint that lets a server explain.")
    ] = False,
) -> None:
    """Write a SavedModel with preprocessing and labels inside, and prove it against Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from pipelines.export import ExportError, export
        from pipelines.export_again import export_again
        from pipelines.run import RunError
    except ImportError as error:
        fail(f"export needs the extra: pip install 'triptych[cpu,train]' ({error})")
    try:
        if (run / SAVED_MODEL).exists():
            asked = {"dense": dense, "embed": embed, "explain": explain}
            folder = export_again(run, repository, name, asked)
        else:
            folder = export(run, repository, name, dense, embed, explain)
    except (ExportError, RunError, OSError) as error:
        fail(error)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    typer.echo(f"{folder}  {size / 2**20:.1f} MiB")
    hint(f"next: triptych serve --repository {repository}")
