"""`triptych models import`: other people's weights become a version that a server can load."""

import os
from pathlib import Path
from typing import Annotated

import typer

from triptych.console import fail, hint

EXAMPLE = (
    "Example: triptych models import resnet20 --weights resnet20-12fca82f.th"
    " --repository model_repository"
)


def command(
    architecture: Annotated[
        str, typer.Argument(metavar="NAME", help="What `triptych models list` has.")
    ],
    weights: Annotated[
        str,
        typer.Option(
            metavar="FILE|imagenet",
            help="Of Keras (.h5, .keras) or PyTorch (.pth, .pt, .th, .safetensors);"
            " imagenet: Keras downloads its own.",
        ),
    ],
    repository: Annotated[Path, typer.Option(help="Where NAME/VERSION/ is written.")],
    name: Annotated[str | None, typer.Option(help="Default: the network's.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|imagenet|cifar10|ids",
            help="One a line, or JSON; ids: the numbers. Default: the published weights' own.",
        ),
    ] = None,
) -> None:
    """Carry weights of Keras or PyTorch over, with the preprocessing that belongs to them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from models.weights.carry import WeightsError
        from pipelines.export import ExportError
        from pipelines.import_weights import import_weights
    except ImportError as error:
        fail(f"importing needs the extra: pip install 'triptych[cpu,train]' ({error})")
    try:
        folder = import_weights(architecture, weights, repository, name, labels)
    except (WeightsError, ExportError, OSError) as error:
        fail(error)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    typer.echo(f"{folder}  {size / 2**20:.1f} MiB")
    hint(f"next: triptych serve --repository {repository}")
