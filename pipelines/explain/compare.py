"""Many inputs, many methods: what each shows, what it costs, and whether it can be believed."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean, median
from time import perf_counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.explain import METHODS, OF_A_LAYER
from pipelines.explain.errors import ExplainError
from pipelines.explain.explanation import Explanation
from pipelines.explain.faithfulness import Curves, curves
from pipelines.explain.integrated_gradients import FEWEST_STEPS, integrated_gradients
from pipelines.explain.network import Network
from pipelines.explain.sanity import SHARES, rank_correlations
from serving.errors import InvalidInput

RANDOM = "random order"  # what a map has to beat
CHECKED = 5  # inputs of the sanity check: it makes each map four times more
# Of a network of random weights, whose integral needs no precision.
ROUGH = {"integrated-gradients": partial(integrated_gradients, most_steps=FEWEST_STEPS)}


class Seen(NamedTuple):
    """One input, and by method what was said of it."""

    name: str
    item: bytes | str
    example: npt.NDArray
    explanations: dict[str, Explanation]
    curves: dict[str, Curves]  # of RANDOM, too

    @property
    def label(self) -> str:
        return next(iter(self.explanations.values())).label

    @property
    def score(self) -> float:
        return next(iter(self.explanations.values())).score


class Verdict(NamedTuple):
    """Of one method, over all inputs.

    milliseconds: the median; None of RANDOM.
    deletion, insertion: the mean area; sanity: the mean rank correlation at each of SHARES.
    """

    method: str
    milliseconds: float | None
    deletion: float
    insertion: float
    sanity: list[float]


class Comparison(NamedTuple):
    """impossible: methods that this network can't have; left_out: inputs; both with the reason."""

    network: Network
    seen: list[Seen]
    verdicts: list[Verdict]
    checked: int
    impossible: dict[str, str]
    left_out: dict[str, str]


def compare(
    network: Network,
    items: Iterable[tuple[str, bytes | str]],
    methods: Sequence[str],
    label: str | None = None,
    layer: str | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Comparison:
    """
    Args:    items: (name, a file's bytes or a text); label: the class, or None: each input's own
             top one; advance: is called after each input.
    Raises:  ExplainError if there is nothing to show: no input can be read, or no method be had.
    """
    seen, left_out = [], {}
    impossible: dict[str, str] = {}
    seconds: dict[str, list[float]] = {}
    sanity: dict[str, list[list[float]]] = {}
    rng = np.random.default_rng(0)
    for name, item in items:
        try:
            example = network.example(item)
        except InvalidInput as error:
            left_out[name] = str(error)
            advance()
            continue
        class_id = chosen_class(network, example, label)
        explanations, found = {}, {}
        for method in methods:
            if method in impossible:
                continue
            function = bound(method, layer)
            try:
                if method not in seconds:  # what is traced at a first call is not its latency
                    seconds[method] = []
                    function(network, example, class_id)
                start = perf_counter()
                explained = function(network, example, class_id)
            except ExplainError as error:
                impossible[method] = str(error)
                continue
            seconds[method].append(perf_counter() - start)
            explanations[method] = explained
            found[method] = curves(network, example, class_id, explained.values)
            if len(seen) < CHECKED:
                sanity.setdefault(method, []).append(
                    rank_correlations(
                        network,
                        ROUGH.get(method, function),
                        example,
                        class_id,
                        explained.values,
                    )
                )
        if explanations:
            found[RANDOM] = curves(network, example, class_id, rng.random(explained.values.shape))
            seen.append(Seen(name, item, example, explanations, found))
        advance()
    if not seen:
        raise ExplainError("; ".join([*impossible.values(), *left_out.values()]))
    verdicts = [
        Verdict(
            method,
            1000 * median(seconds[method]) if method in sanity else None,
            fmean(each.curves[method].deletion_area for each in seen),
            fmean(each.curves[method].insertion_area for each in seen),
            [fmean(column) for column in zip(*sanity.get(method, []), strict=True)],
        )
        for method in seen[0].curves
    ]
    return Comparison(network, seen, verdicts, min(len(seen), CHECKED), impossible, left_out)


def bound(method: str, layer: str | None) -> Callable[..., Explanation]:
    """The method, at a layer if it looks at one.  Raises: ExplainError for an unknown method."""
    if method not in METHODS:
        raise ExplainError(
            f"no method {method!r}; there are {', '.join(METHODS)}, and others that make a picture"
            " of their own (`triptych explain --help`)"
        )
    if layer is None or method not in OF_A_LAYER:
        return METHODS[method]
    return lambda *args: METHODS[method](*args, layer=layer)


def chosen_class(network: Network, example: npt.NDArray, label: str | None) -> int:
    """Raises: ExplainError for an unknown one."""
    if label is None:
        return int(network.scores(example[np.newaxis])[0].argmax())
    return network.class_id(label)


def as_dict(comparison: Comparison) -> dict:
    """Every figure; `sanity` at each of `shuffled_shares` of the layers."""
    return {
        "model": comparison.network.name,
        "inputs": len(comparison.seen),
        "checked_inputs": comparison.checked,
        "shuffled_shares": list(SHARES),
        "methods": [verdict._asdict() for verdict in comparison.verdicts],
        "impossible": comparison.impossible,
        "left_out": comparison.left_out,
    }
