"""A layer's map on the input's positions: each value at the centre of what it saw, lines between.

Pictures' maps are bilinear therefore, and lie right for networks without padding, too.
"""

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
from keras import tree

from models.geometry import Field
from models.graph import replay, steps
from models.receptive import receptive_fields
from pipelines.explain.network import Network

Enlarge = Callable[[npt.NDArray], npt.NDArray[np.float32]]


def enlarger(network: Network, layer: str, shape: tuple[int, ...]) -> Enlarge:
    """What takes maps [..., h, w] or [..., t] of `layer` to an example's [..., H, W] or [..., T].

    Args:  shape: of the example, no batch axis.
    """
    key = (enlarger, layer, tuple(shape))
    if key not in network.memo:
        network.memo[key] = _matrices(network, layer, tuple(shape))
    matrices = network.memo[key]

    def enlarge(maps: npt.NDArray) -> npt.NDArray[np.float32]:
        if len(matrices) == 1:
            return np.einsum("Tt,...t->...T", matrices[0], maps)
        maps = maps if network.layer(layer).ndim > 3 else maps[..., None]
        return np.einsum("Hh,Ww,...hw->...HW", *matrices, maps, optimize=True)

    return enlarge


def _matrices(network: Network, layer: str, shape: tuple[int, ...]) -> list[npt.NDArray]:
    fields, tensor = fields_of(network, layer, shape)
    sizes = tensor.shape[1:-1]
    # What a network takes for channels, as a keyword network does frequencies, has no map.
    return [
        _matrix(field, sizes[axis] if axis < len(sizes) else 1, side)
        for axis, (field, side) in enumerate(zip(fields, shape[: len(fields)], strict=True))
    ]


def fields_of(
    network: Network, layer: str, shape: tuple[int, ...]
) -> tuple[tuple[Field, ...], keras.KerasTensor]:
    """The layer's, in the network as it is for examples of this shape."""
    number = next(n for n, step in enumerate(network.steps) if step.output is network.layer(layer))
    sized = replay(network.model, lambda operation, *a, **k: operation(*a, **k), shape)
    trace = steps(sized)
    output = tree.flatten(trace[number].output)[0]
    return receptive_fields(trace)[id(output)], output


def _matrix(field: Field, size: int, side: int) -> npt.NDArray[np.float64]:
    """[side, size]: how much of each value of a map a position has."""
    if size == 1 or not field.stride:
        return np.full((side, size), 1 / size)
    centres = field.start + (field.size - 1) / 2 + field.stride * np.arange(size)
    return np.array([np.interp(np.arange(side), centres, row) for row in np.eye(size)]).T
