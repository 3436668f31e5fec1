"""`triptych explain` where the answer is a made picture: what excites, fools, dreams, restyles."""

import io
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from triptych.console import fail, hint

if TYPE_CHECKING:
    from pipelines.datasets import Example
    from pipelines.explain.exhibits import Exhibit
    from pipelines.explain.network import Network

METHODS = (
    *("filters", "feature-maps", "top-inputs", "activation-maximization", "fgsm", "pgd"),
    *("robustness", "deep-dream", "style-transfer", "receptive-field", "deconvnet"),
    "checkerboard",
)
COUNT = 500  # examples of a data set, drawn by the seed below
SEED = 0


class Asked(NamedTuple):
    method: str
    items: Sequence[tuple[str, bytes | str]]
    layer: str | None
    label: str | None
    data: str | None
    data_dir: Path | None
    options: Mapping[str, Any]


def method_of(methods: Sequence[str]) -> str | None:
    """The one that is made here, if there is one; it doesn't go with others."""
    found = [method for method in methods if method in METHODS]
    if found and len(methods) > 1:
        fail(f"{found[0]} makes a picture of its own: give it alone, not with other methods", 2)
    return found[0] if found else None


def check(asked: Asked, out: Path | None) -> None:
    """Said now, and not after all the work.  Raises: ExplainError."""
    from pipelines.explain import exhibits

    exhibits.check(asked.method, len(asked.items), asked.data is not None)
    target = out or _target(asked.method)
    if target.suffix.lower() not in (".png", ".npz"):
        fail(f"{target}: name it .png for the picture, or .npz for its arrays", 2)
    if not target.parent.is_dir():
        fail(f"{target}: there is no folder {target.parent}; make it, or name another", 2)


def make(asked: Asked, network: "Network | None") -> "Exhibit":
    """Raises: ExplainError, DatasetError or InvalidInput, each saying what to change."""
    from pipelines.explain import exhibits
    from serving.errors import InvalidInput

    options = dict(asked.options)
    count = options.pop("count", COUNT)
    if not isinstance(count, int) or count < 1:
        fail(f"--option count={count}: give a whole number of examples", 2)
    examples = _examples(asked, count, network) if asked.data is not None and network else []
    items = [item for _, item in asked.items]
    try:
        return exhibits.show(
            asked.method, network, items, examples, asked.layer, asked.label, options
        )
    except InvalidInput as error:
        names = ", ".join(name for name, _ in asked.items)
        raise InvalidInput(f"{names}: {error}" if names else str(error)) from error


def write(done: "Exhibit", method: str, out: Path | None, as_json: bool) -> None:
    if as_json:
        values = {name: value.tolist() for name, value in done.values.items()}
        typer.echo(json.dumps({"method": method, "facts": done.facts, "values": values}))
        if out is None:
            return
    from pipelines.whole_file import write_file

    target = out or _target(method)
    if target.suffix.lower() == ".npz":
        import numpy as np

        arrays = io.BytesIO()
        np.savez_compressed(arrays, **done.values)
        write_file(target, arrays.getvalue())
    else:
        write_file(target, done.png)
    if not as_json:
        for fact in done.facts:
            typer.echo(fact)
    hint(f"{target} is written; --out FILE.npz writes the arrays")


def _target(method: str) -> Path:
    return Path(f"{method}.png")


def _examples(asked: Asked, count: int, network: "Network") -> "list[Example]":
    """Of the test split, with the network's own class numbers; others' are left out."""
    from pipelines.datasets import Example, load_labelled
    from pipelines.explain.errors import ExplainError

    found = load_labelled(asked.data, asked.data_dir)
    if found.domain != network.domain:
        raise ExplainError(
            f"{network.name} takes {network.domain}, and {asked.data} is {found.domain}"
        )
    known = {label: number for number, label in enumerate(network.labels)}
    examples = [
        Example(each.source, known[found.labels[each.class_id]])
        for each in found.examples
        if found.labels[each.class_id] in known
    ]
    if not examples:
        raise ExplainError(
            f"{asked.data} has none of {network.name}'s classes: {', '.join(network.labels)}"
        )
    random.Random(SEED).shuffle(examples)
    return examples[:count]
