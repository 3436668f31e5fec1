"""`triptych models describe`: what a network costs, and where."""

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from triptych.console import fail, hint, key_value, quantity

if TYPE_CHECKING:
    from models.cost import Cost, StepCost

EXAMPLE = "Example: triptych models describe vgg16 --input 384"


def command(
    name: Annotated[str, typer.Argument(help="What `triptych models list` has.")],
    size: Annotated[
        int | None,
        typer.Option(
            "--input",
            metavar="N",
            help="Pixels of a side; frames or tokens of a sound or text. Default: the paper's.",
            min=1,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="Default: 1000, or 10 if the paper's inputs are small.", min=1
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the architecture.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every step, exact figures.")] = False,
) -> None:
    """Show layer by layer: shape, receptive field, parameters, multiply-adds, memory in bytes.

    A receptive field is size/stride and where the first position's begins; or all of the input.
    Memory is for one example in float32, in training with the gradient of each activation.
    """
    options = dict(key_value(text) for text in option or [])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from models.catalogue import priced
    except ImportError:
        fail("the networks need the extra: pip install 'triptych[cpu,train]'")
    try:
        cost = priced(name, size, classes, **options)
    except ValueError as error:
        fail(error)
    paper = None
    with suppress(ValueError):  # the paper's form may not take so small an input
        paper = priced(name, size, classes) if options else None
    if as_json:
        fields = {"name": name, "options": options, **cost.to_dict()}
        typer.echo(json.dumps(fields | ({"to_the_paper": _change(cost, paper)} if paper else {})))
        return
    _show(cost)
    if paper:
        typer.echo("to the paper: " + _in_words(_change(cost, paper), paper))
    hint("activations, dropout and reshapes work in place: --json has them, too")


def _change(cost: "Cost", paper: "Cost") -> dict[str, int]:
    return {
        "parameters": cost.parameters - paper.parameters,
        "multiply_adds": cost.multiply_adds - paper.multiply_adds,
    }


def _in_words(change: dict[str, int], paper: "Cost") -> str:
    parts = []
    for figure, number in change.items():
        of = getattr(paper, figure)
        share = number / of if of else 0.0
        percent = f" ({share:+.{1 if abs(share) < 0.1 else 0}%})" if share else ""
        parts.append(f"{number:+,} {figure.replace('_', '-')}{percent}")
    return ", ".join(parts)


def _show(cost: "Cost") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("\nname", overflow="fold")
    for column in ("\noutput", "receptive\nfield"):
        table.add_column(column, no_wrap=True)
    for column in ("para-\nmeters", "multiply-\nadds", "memory\nforward", "\ntraining"):
        table.add_column(column, justify="right", no_wrap=True)
    for step in cost.steps:
        if step.parameters or step.multiply_adds or step.forward_bytes:
            figures = (
                step.parameters,
                step.multiply_adds,
                step.forward_bytes,
                step.training_bytes,
            )
            table.add_row(
                step.name,
                "x".join(map(str, step.output)),
                _field(step, cost.input_shape),
                *(quantity(figure) if figure else "" for figure in figures),
            )
    totals = Table(box=None, pad_edge=False, show_header=False)
    totals.add_column(style="bold", no_wrap=True)
    totals.add_column()
    training = cost.training_bytes
    for row in (
        ("parameters", f"{cost.parameters:,}, of which {cost.trainable:,} are trained"),
        ("multiply-adds", f"{cost.multiply_adds:,}"),
        ("weights", f"{quantity(cost.weights_bytes)}B"),
        (
            "activations",
            f"{quantity(cost.forward_bytes)}B; at inference {quantity(cost.peak_bytes)}B at once",
        ),
        (
            "training",
            f"{quantity(training['sgd_momentum'])}B by SGD with momentum,"
            f" {quantity(training['adam'])}B by Adam, for a batch of one",
        ),
    ):
        totals.add_row(*row)
    console = Console()
    console.print(table)
    console.print()
    console.print(totals)


def _field(step: "StepCost", input_shape: tuple[int, ...]) -> str:
    """ "11/4 -2": 11 wide, 4 from one to the next, the first begins at -2."""
    whole = (
        field.stride == 0 and field.start <= 0 and field.start + field.size >= size
        for field, size in zip(step.fields, input_shape, strict=False)
    )
    if all(whole):
        return "all"
    sizes, strides, starts = (
        str(numbers[0]) if len(set(numbers)) == 1 else "x".join(map(str, numbers))
        for numbers in zip(*step.fields, strict=True)
    )
    return f"{sizes}/{strides} {starts}"
