"""`triptych evaluate`: how good a finished model is, and what it gets wrong."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triptych.console import OWN_PROCESS, fail, hint
from triptych.machine import machine
from triptych.progress import progress

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.evaluation.evaluate import Evaluation

EXAMPLE = (
    "Example: triptych evaluate cifar10 cifar10 --data-dir data --out reports/cifar10\n\n"
    "Your own data: triptych evaluate photos new-photos/ --out reports/photos"
)
CLASSES = 20  # that the summary shows: of more, those of the least F1
LEFT_OUT = 3  # examples that it names


def command(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A name in the repository, or a version's folder."),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="cifar10, mnist, fsdd, speech_commands, trec; a folder CLASS/FILE; or a CSV or"
            " TSV file of label and text.",
        ),
    ],
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of a known data set; else it is downloaded."),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="NAME/VERSION/; default model_repository."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For report.html and report.json.")
    ] = None,
    ten_crops: Annotated[
        bool,
        typer.Option("--ten-crops", help="Of pictures: the mean of ten crops in place of a view."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what report.json holds.")] = False,
) -> None:
    """Measure a model: accuracy, each class, calibration, and its most confident mistakes.

    On the test split where the data have one; on what training held out, if the model was trained
    on these; or else on all of the data.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if context.obj is OWN_PROCESS:
        from serving.lean import leave_out_training

        leave_out_training()
    try:
        from pipelines.batch.errors import BatchError
        from pipelines.batch.options import Rows
        from pipelines.batch.predictor import Predictor
        from pipelines.datasets import DatasetError
        from pipelines.evaluation.evaluate import EvaluationError, evaluate
        from pipelines.evaluation.report import as_dict, to_json, write_report
    except ImportError as error:
        fail(f"evaluation needs the extra: pip install 'triptych[cpu,evaluate]' ({error})")

    # A server's: what is measured is what it would answer.
    computing, default_repository = machine()
    again = shlex.join(["triptych", *sys.argv[1:]])
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)  # now, and not after all the work
        predictor = Predictor.on(
            computing,
            model,
            Rows(all_scores=True),
            repository=repository or default_repository,
        )
        with progress("Measuring") as bar:
            evaluation = evaluate(
                predictor,
                data,
                data_dir,
                begin=bar.begin,
                advance=bar.advance,
                ten_crops=ten_crops,
            )
        page = write_report(evaluation, again, out) if out is not None else None
    except (BatchError, DatasetError, EvaluationError, OSError) as error:
        fail(error)
    for note in predictor.notes:
        hint(note)
    if as_json:
        typer.echo(to_json(as_dict(evaluation, again)), nl=False)
    else:
        show(evaluation)
    if page:
        hint(f"next: open {page} in a browser")
    else:
        hint("next: --out FOLDER writes the report, with the pictures of the mistakes")


def show(evaluation: "Evaluation") -> None:
    """In 80 columns: the figures, the weakest classes, what is taken for what, what to know."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipelines.evaluation.exhibits import shortened
    from pipelines.evaluation.report import figure, percent, span

    model, data, measures = evaluation.model, evaluation.data, evaluation.measures
    before, after = evaluation.calibration.before, evaluation.calibration.after
    temperature = evaluation.calibration.temperature
    facts = {
        "model": f"{model}, {model.digest[:12]}",
        "data": f"{data.name}: {measures.examples:,} examples, {data.split}",
        "accuracy": f"{percent(measures.accuracy)} (95 % interval: {span(measures.interval)})",
        "top-5": percent(measures.top5) if measures.top5 is not None else "",
        "F1": f"{figure(measures.f1)}, the mean of the classes",
        "log loss": figure(measures.log_loss),
        "calibration": f"ECE {percent(before.ece)}"
        + (f"; {percent(after.ece)} at temperature {temperature:.2f}" if after else ""),
        "mistakes": ", ".join(
            f"{each.true} as {each.answered} {each.count:,}" for each in evaluation.confusions[:4]
        ),
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(value))
    console = Console()
    console.print(table)
    console.print()
    console.print(_classes(evaluation))
    for note in evaluation.notes:
        console.print(Text(f"\n{note}", style="yellow"))
    for item in evaluation.left_out[:LEFT_OUT]:
        console.print(Text(f"{shortened(item.input, 60)}: {item.reason}", style="red"))


def _classes(evaluation: "Evaluation") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from pipelines.evaluation.report import figure

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", overflow="fold")
    for column in ("examples", "precision", "recall", "F1"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = [each for each in evaluation.measures.classes if each.examples]
    better = len(shown) - CLASSES
    if better > 0:
        shown = sorted(shown, key=lambda each: each.f1 or 0.0)[:CLASSES]
    for each in shown:
        figures = map(figure, (each.precision, each.recall, each.f1))
        table.add_row(Text(each.label), f"{each.examples:,}", *figures)
    if better > 0:
        table.add_row(Text(f"and {better:,} better ones", style="dim"))
    return table
