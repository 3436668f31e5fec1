"""Where a network knows of places last: the maps that class activation methods look at."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
from keras import tree

from models.graph import Step

# What puts values elsewhere, or others in their place: its output's positions are not its input's,
# or hold what is no activation (the lowest number, say, that no maximum takes).
# fmt: off
REARRANGING = {
    "GetItem", "Pad", "Sort", "Swapaxes", "Take", "TakeAlongAxis", "TopK", "Transpose", "Where",
}
# fmt: on
VECTORS = {"Embedding", "OneHot"}  # of token numbers
AVERAGES = {"GlobalAveragePooling1D", "GlobalAveragePooling2D"}
# What does nothing to a mean, at inference.
NOTHING = (keras.layers.Dropout, keras.layers.Identity, keras.layers.Flatten)


def last_maps(trace: Sequence[Step]) -> list[keras.KerasTensor]:
    """The last outputs with positions, [B, ..., C]: each way from the logits back ends at one.

    One for most networks: what is pooled or flattened. Several, where branches are pooled each by
    itself (Kim 2014). Where a network's maps lie along time and frequency, and in the end along
    time alone, the last with both is taken. Of two that hang on one another the earlier counts, as
    its gradient has the later one's in it.

    Args:   trace: of an unrolled network (`models.graph.steps`).
    Raises: ValueError if it has none, or if they differ in size.
    """
    makers = _makers(trace)
    learned: set[int] = set()  # what weights took part in: an input alone is no map
    for step in trace:
        if step.weights or any(id(x) in learned for x in step.inputs):
            learned.update(id(x) for x in tree.flatten(step.output))
    outputs = [x for step in trace for x in tree.flatten(step.output)]
    most = max((_axes(x) for x in outputs if id(x) in learned), default=0)
    found: dict[int, keras.KerasTensor] = {}
    waiting, seen = [trace[-1].output], set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen or id(tensor) not in makers:
            continue
        seen.add(id(tensor))
        step = makers[id(tensor)]
        is_map = most and _axes(tensor) == most and id(tensor) in learned
        if is_map and not REARRANGING & _kinds(step):
            found[id(tensor)] = tensor
        else:
            waiting.extend(reversed(step.inputs))
    maps = [x for x in found.values() if not _hangs_on(x, found, makers)]
    sizes = {tuple(x.shape[1:-1]) for x in maps}
    if len(sizes) != 1:
        differ = f"its last layers with positions differ in size: {sorted(sizes)}"
        raise ValueError(differ if sizes else "no layer of the network has positions")
    return maps


def token_vectors(trace: Sequence[Step]) -> list[keras.KerasTensor]:
    """What a text network makes of token numbers first, [B, T, D]; none for other networks."""
    return [step.output for step in trace if VECTORS & _kinds(step)]


class Averaged(NamedTuple):
    maps: keras.KerasTensor  # [B, ..., C]
    weights: keras.Variable  # [C, K]: how much of each map's mean is in a class's logit


def averaged(trace: Sequence[Step]) -> Averaged | None:
    """What class activation maps are made of (Zhou 2016, section 2, arXiv 1512.04150).

    Of a network that ends in the mean over all positions and one fully connected layer, and
    nothing but dropout between them; of others None. Its maps are its last ones, but where those
    that `last_maps` gives still have frequencies.
    """
    makers = _makers(trace)
    head = trace[-1]
    if not isinstance(head.operation, keras.layers.Dense):
        return None
    if head.operation.activation is not keras.activations.linear:
        return None
    step = makers.get(id(head.inputs[0]))
    while step and isinstance(step.operation, NOTHING):
        step = makers.get(id(step.inputs[0]))
    if step is None:
        return None
    maps = step.inputs[0]
    axis = getattr(step.operation, "axis", None)
    over = set(axis) if isinstance(axis, tuple | list) else {axis}
    mean = "Mean" in _kinds(step) and over == set(range(1, maps.ndim - 1))
    return Averaged(maps, head.operation.kernel) if mean or AVERAGES & _kinds(step) else None


def _makers(trace: Sequence[Step]) -> dict[int, Step]:
    return {id(x): step for step in trace for x in tree.flatten(step.output)}


def _axes(tensor: keras.KerasTensor) -> int:
    """Axes along which there are positions: 2 of [B, H, W, C], 1 of [B, T, C] and [B, T, 1, C]."""
    if not 3 <= tensor.ndim <= 4 or not keras.backend.is_float_dtype(tensor.dtype):
        return 0
    return sum(size != 1 for size in tensor.shape[1:-1])


def _hangs_on(
    tensor: keras.KerasTensor, others: Mapping[int, object], makers: Mapping[int, Step]
) -> bool:
    waiting, seen = [*makers[id(tensor)].inputs], set()
    while waiting:
        x = waiting.pop()
        if id(x) in others:
            return True
        if id(x) in makers and id(x) not in seen:
            seen.add(id(x))
            waiting.extend(makers[id(x)].inputs)
    return False


def _kinds(step: Step) -> set[str]:
    return {kind.__name__ for kind in type(step.operation).__mro__}
