"""What a layer's filters are, what they make of an input, and which inputs excite them most."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from models.geometry import Field
from models.graph import Step


class Excitement(NamedTuple):
    """Where an input excites a filter most."""

    index: int  # of the input, in the order in which they came
    position: tuple[int, ...]  # in the filter's map; () of what has none
    value: float  # of the map there
    degree: float  # sum over the map


def filters(step: Step) -> np.ndarray:
    """A convolution's kernels, one after the other.  [N, h, w, C], or [N, h, C] in one dimension

    Raises:  ValueError if the step is no convolution.
    """
    kernels = [weight for weight in step.weights if len(weight.shape) in (3, 4)]
    kind = type(step.operation).__name__
    if not kernels or "Conv" not in kind:
        raise ValueError(f"{step.operation.name} is a {kind}: only convolutions have filters")
    values = keras.ops.convert_to_numpy(kernels[0])
    if "Depthwise" in kind:  # [h, w, C, multiplier]
        values = values.reshape(*values.shape[:-2], 1, -1)
    return np.moveaxis(values, -1, 0)


def degrees(maps: np.ndarray) -> np.ndarray:
    """How much each filter is excited: the sum over its map, not the mean.  [..., K] -> [K]"""
    return maps.sum(axis=tuple(range(maps.ndim - 1)))


def strongest(
    features: Callable[[np.ndarray], Any],
    batches: Iterable[np.ndarray],
    units: Sequence[int],
    count: int = 9,
) -> dict[int, list[Excitement]]:
    """Of each filter, the inputs with its highest number at one place, best first, one place each.

    Args:    features: examples [B, ...] -> a layer's output [B, ..., C]; batches: of examples;
             units: in [0, C); count: inputs a filter.
    Source:  Girshick 2014, section 3.1, arXiv 1311.2524: "let the unit speak for itself".
    """
    found: dict[int, list[Excitement]] = {unit: [] for unit in units}
    seen = 0
    for batch in batches:
        maps = np.asarray(features(batch))[..., list(units)]  # [B, ..., units]
        flat = maps.reshape(len(maps), -1, len(units))
        best, sums = flat.argmax(axis=1), flat.sum(axis=1)
        for column, unit in enumerate(units):
            for row, place in enumerate(best[:, column]):
                position = np.unravel_index(place, maps.shape[1:-1])
                value, total = flat[row, place, column], sums[row, column]
                position = tuple(int(number) for number in position)
                found[unit].append(Excitement(seen + row, position, float(value), float(total)))
            found[unit] = sorted(found[unit], key=lambda each: -each.value)[:count]
        seen += len(batch)
    return found


def patch(
    example: np.ndarray, position: Sequence[int], fields: Sequence[Field], outside: float = 0.0
) -> np.ndarray:
    """What one position of a map sees of an example: a picture's part, some frames, an n-gram.

    Args:    example: [H, W, C], [T, F] or [T]; position: along the axes that the map still has;
             fields: models.receptive's, one an axis of the example that has positions;
             outside: what the network pads with.
    """
    places = iter(position)
    views = [field.at(next(places, 0) if field.stride else 0) for field in fields]
    spans = [
        # What could see all of an axis, as after global pooling, is cut to the example itself.
        range(size) if len(view) >= size else view
        for view, size in zip(views, example.shape, strict=False)
    ]
    sides = [
        (max(0, -span.start), max(0, span.stop - size))
        for span, size in zip(spans, example.shape, strict=False)
    ]
    sides += [(0, 0)] * (example.ndim - len(sides))
    padded = np.pad(example, sides, constant_values=outside)
    cuts = [
        slice(span.start + before, span.stop + before)
        for span, (before, _) in zip(spans, sides, strict=False)
    ]
    return padded[tuple(cuts)]
