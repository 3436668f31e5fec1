"""`triptych explain` where the answer is a made picture: what excites, fools, dreams, restyles."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from triptych.console import fail, hint

if TYPE_CHECKING:
    from pipelines.datasets import Example

COUNT = 500  # examples of a data set, drawn by the seed below
SEED = 0


def run(
    method: str,
    model: str,
    items: Sequence[tuple[str, bytes | str]],
    layer: str | None,
    label: str | None,
    data: str | None,
    data_dir: Path | None,
    options: Mapping[str, Any],
    out: Path | None,
    repository: Path,
    as_json: bool,
) -> None:
    """Raises: ExplainError, DatasetError or InvalidInput, each saying what to change."""
    from rich.console import Console

    from pipelines.explain.errors import ExplainError
    from pipelines.explain.exhibits import EXHIBITS, check, show
    from pipelines.explain.network import open_network
    from serving.errors import InvalidInput

    keywords = dict(options)
    count = keywords.pop("count", COUNT)
    if not isinstance(count, int) or count < 1:
        fail(f"--option count={count}: give a whole number of examples", 2)
    target = out or Path(f"{method}.png")
    if target.suffix.lower() not in (".png", ".npz"):
        fail(f"{target}: name it .png for the picture, or .npz for its arrays", 2)
    check(method, len(items), data is not None)
    if EXHIBITS[method].network and not model:
        raise ExplainError(f"{method} looks into a model: name one with --model")
    console = Console(stderr=True)
    with console.status(method) if console.is_terminal else _quietly():
        network = open_network(model, repository) if EXHIBITS[method].network else None
        examples = _examples(data, data_dir, count, network) if data is not None else []
        try:
            done = show(
                method, network, [item for _, item in items], examples, layer, label, keywords
            )
        except InvalidInput as error:
            names = ", ".join(name for name, _ in items)
            raise InvalidInput(f"{names}: {error}" if names else str(error)) from error
    if as_json:
        values = {name: value.tolist() for name, value in done.values.items()}
        typer.echo(json.dumps({"method": method, "facts": done.facts, "values": values}))
    if out is not None or not as_json:
        if target.suffix.lower() == ".npz":
            import numpy as np

            np.savez_compressed(target, **done.values)
        else:
            target.write_bytes(done.png)
    if not as_json:
        for fact in done.facts:
            typer.echo(fact)
        hint(f"{target} is written; --out FILE.npz writes the arrays instead")


def _examples(data: str, data_dir: Path | None, count: int, network: Any) -> "list[Example]":
    """Of the test split, with the network's own class numbers; others' are left out."""
    from pipelines.datasets import Example, load_labelled
    from pipelines.explain.errors import ExplainError

    found = load_labelled(data, data_dir)
    if found.domain != network.domain:
        raise ExplainError(f"{network.name} takes {network.domain}, and {data} is {found.domain}")
    known = {label: number for number, label in enumerate(network.labels)}
    examples = [
        Example(each.source, known[found.labels[each.class_id]])
        for each in found.examples
        if found.labels[each.class_id] in known
    ]
    if not examples:
        raise ExplainError(
            f"{data} has none of {network.name}'s classes: {', '.join(network.labels)}"
        )
    random.Random(SEED).shuffle(examples)
    return examples[:count]


class _quietly:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
