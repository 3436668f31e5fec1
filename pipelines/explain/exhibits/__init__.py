"""What synthesis shows, one kind a method: `show` hands it what it takes, and nothing else.

A method's keyword arguments are its options. `layer`, `layers`, `class_id` and `units` are given by
all methods' own flags, or as options like the others.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pipelines.datasets import Example
from pipelines.explain.errors import ExplainError
from pipelines.explain.exhibits import attacks, dreams, fields, maps, maximisation
from pipelines.explain.exhibits.checkerboards import checkerboards
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.network import Network

__all__ = ["EXHIBITS", "Exhibit", "show"]

Needs = Literal["nothing", "an input", "content and style", "data"]


class Kind(NamedTuple):
    function: Callable[..., Exhibit]
    needs: Needs = "nothing"
    network: bool = True


EXHIBITS: dict[str, Kind] = {
    "filters": Kind(maps.of_filters),
    "feature-maps": Kind(maps.of_input, "an input"),
    "top-inputs": Kind(maps.of_data, "data"),
    "activation-maximization": Kind(maximisation.of_units),
    "fgsm": Kind(attacks.with_fgsm, "an input"),
    "pgd": Kind(attacks.with_pgd, "an input"),
    "robustness": Kind(attacks.of_data, "data"),
    "deep-dream": Kind(dreams.dream, "an input"),
    "style-transfer": Kind(dreams.restyle, "content and style"),
    "receptive-field": Kind(fields.receptive_field, "an input"),
    "deconvnet": Kind(fields.reconstruction, "an input"),
    "checkerboard": Kind(checkerboards, network=False),
}
INPUTS = {"nothing": 0, "an input": 1, "content and style": 2, "data": 0}


def show(
    method: str,
    network: Network | None,
    items: Sequence[bytes | str] = (),
    examples: Sequence[Example] = (),
    layer: str | None = None,
    label: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Exhibit:
    """
    Args:    network: None for what needs none; items: inputs; examples: of a data set; layer: one,
             or several separated by commas; label: of a class; options: as from the command line.
    Raises:  ExplainError if there is too much or too little, with what the method takes.
    """
    kind = EXHIBITS[method]
    check(method, len(items), bool(examples))
    given: list[Any] = []
    if kind.network:
        if network is None:
            raise ExplainError(f"{method} looks into a model: name one")
        given.append(network)
    given += [examples] if kind.needs == "data" else items
    known = inspect.signature(kind.function).parameters
    takes = [name for name, each in known.items() if each.kind is each.KEYWORD_ONLY]
    keywords = dict(options or {})
    if layer is not None:
        several = "layers" in takes
        keywords["layers" if several else "layer"] = layer.split(",") if several else layer
    if label is not None and network is not None:
        class_id = network.class_id(label)
        keywords |= {"units": [class_id]} if "units" in takes else {"class_id": class_id}
    for name in keywords:
        if name not in takes:
            raise ExplainError(
                f"{method} takes no {name.replace('class_id', 'class')}; it takes"
                f" {', '.join(takes) or 'no options'}"
            )
    return kind.function(*given, **{name: _typed(name, v) for name, v in keywords.items()})


def check(method: str, inputs: int, data: bool) -> None:
    """Raises: ExplainError if these are not what the method needs."""
    needs = EXHIBITS[method].needs
    if inputs != INPUTS[needs] or (data is not (needs == "data")):
        wants = {"data": "--data, and no file", "content and style": "two files, content and style"}
        wants |= {"nothing": "no file and no --data", "an input": "one input, and no --data"}
        raise ExplainError(f"{method} takes {wants[needs]}")


def _typed(name: str, value: Any) -> Any:
    """Of what a person writes once or several times with commas, a list."""
    if name in ("units", "epsilons"):
        parts = value.split(",") if isinstance(value, str) else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        kind = int if name == "units" else float
        try:
            return [kind(part) for part in parts]
        except (TypeError, ValueError):
            raise ExplainError(f"{name} must be numbers, as {name}=1,2,4; not {value!r}") from None
    if name.endswith("layers") and isinstance(value, str):
        return value.split(",")
    return value
