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
LISTS: dict[str, Callable[[Any], Any]] = {
    "units": int,
    "epsilons": float,
    "layers": str,
    "content_layers": str,
    "style_layers": str,
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
        keywords["layers" if "layers" in takes else "layer"] = layer
    if label is not None and network is not None:
        class_id = network.class_id(label)
        keywords |= {"units": [class_id]} if "units" in takes else {"class_id": class_id}
    for name in keywords:
        if name not in takes:
            raise ExplainError(
                f"{method} takes no {name.replace('class_id', 'class')}; it takes"
                f" {', '.join(takes) or 'no options'}"
            )
    typed = {name: _typed(name, value, known[name].default) for name, value in keywords.items()}
    return kind.function(*given, **typed)


def check(method: str, inputs: int, data: bool) -> None:
    """Raises: ExplainError if these are not what the method needs."""
    needs = EXHIBITS[method].needs
    if inputs != INPUTS[needs] or (data is not (needs == "data")):
        wants = {"data": "--data, and no file", "content and style": "two files, content and style"}
        wants |= {"nothing": "no file and no --data", "an input": "one input, and no --data"}
        raise ExplainError(f"{method} takes {wants[needs]}")


def _typed(name: str, value: Any, default: Any) -> Any:
    """Of what a person writes once or several times with commas, a list; numbers where one was.

    Args:    default: which tells what the option is.
    """
    if name in LISTS:
        parts = value.split(",") if isinstance(value, str) else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        try:
            return [LISTS[name](part) for part in parts]
        except (TypeError, ValueError):
            raise ExplainError(f"{name} must be numbers, as {name}=1,2,4; not {value!r}") from None
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ExplainError(f"{name} must be true or false, not {value!r}")
    elif isinstance(default, int | float):
        whole, least = isinstance(default, int), int(isinstance(default, int))
        right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not right or not least <= value < float("inf"):
            kind = "a whole number" if whole else "a number"
            raise ExplainError(f"{name} must be {kind}, {least} or more, not {value!r}")
    return value
