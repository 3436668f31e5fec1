"""`triptych` and its verbs. Each imports what it needs when it runs, so that --help is quick."""

from importlib.metadata import version
from typing import Annotated, Any

import typer

from serving.lean import import_less
from triptych import (
    batch,
    bench,
    classify,
    evaluate,
    explain,
    export,
    health,
    models_describe,
    models_import,
    models_list,
    models_serving,
    quickstart,
    serve,
    train,
)
from triptych.console import OWN_PROCESS


class _App(typer.Typer):
    """Called, as the installed command is, it has the process to itself; invoked by a test, not."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        import_less()
        return super().__call__(*arguments, obj=OWN_PROCESS, **options)


app = _App(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"triptych {version('triptych')}")
        raise typer.Exit


@app.callback(epilog="Example: triptych classify photo.jpg sounds/ --text 'Who wrote Hamlet?'")
def triptych(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it, and end."
        ),
    ] = False,
) -> None:
    """Train, export and serve convolutional networks for images, sound and text."""


models = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog="Example: triptych models describe resnet20",
    help="Which networks there are, what they cost, and what a server has.",
)

for verb in (
    train,
    export,
    evaluate,
    explain,
    serve,
    classify,
    batch,
    bench,
    health,
    quickstart,
):
    app.command(verb.__name__.rpartition(".")[2], epilog=verb.EXAMPLE)(verb.command)
for verb in (models_list, models_describe, models_import, models_serving):
    models.command(verb.__name__.rpartition("_")[2], epilog=verb.EXAMPLE)(verb.command)
app.add_typer(models, name="models")
