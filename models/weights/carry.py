"""Arrays -> the weights of a network, by a table of names: all of theirs, into all of ours."""

from collections.abc import Callable, Mapping
from functools import reduce

import keras
import numpy as np
from keras import layers

from models.graph import paths

Weights = Mapping[str, np.ndarray]  # of one layer, by the weight's name, as "kernel"
Table = Mapping[str, str]  # where a layer hangs in our network -> the layer's name in theirs
SHOWN = 5  # reasons in an error's text


class WeightsError(Exception):
    """Weights that cannot be carried; the text says which layer, and why."""


def carry(
    network: keras.Model,
    theirs: Mapping[str, Weights],
    table: Table,
    convert: Callable[[layers.Layer, str, Weights], Weights] = lambda layer, name, weights: weights,
) -> None:
    """Set every weight of the network, or none.

    Args:    network: built; theirs: by layer; convert: to our layer's names and order of axes.
    Raises:  WeightsError unless each weight of ours is set and each of theirs is used.
    """
    ours = weighted_layers(network)
    wrong = [f"{path} has no counterpart in the table" for path in ours.keys() - table.keys()]
    wrong += [f"{path} is not in this network" for path in table.keys() - ours.keys()]
    wrong += [f"their {name} is not used" for name in theirs.keys() - set(table.values())]
    values: list[tuple[keras.Variable, np.ndarray]] = []
    for path in table.keys() & ours.keys():
        name = table[path]
        if name not in theirs:
            wrong.append(f"{path} needs their {name}, which is missing")
            continue
        wanted = {weight.name: weight for weight in ours[path].weights}
        given = convert(ours[path], name, theirs[name])
        if given.keys() != wanted.keys():
            needs, has = (", ".join(sorted(names)) for names in (wanted, given))
            wrong.append(f"{path} has {needs}, and their {name} {has}")
            continue
        for kind, weight in wanted.items():
            if tuple(weight.shape) == given[kind].shape:
                values.append((weight, given[kind]))
            else:
                shapes = f"{list(weight.shape)}, and their {name} {list(given[kind].shape)}"
                wrong.append(f"{path} has a {kind} of shape {shapes}")
    if wrong:
        wrong.sort()
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise WeightsError(f"these weights do not fit: {'; '.join(wrong[:SHOWN])}{more}")
    for weight, value in values:
        weight.assign(value)


def weighted_layers(network: keras.Model) -> dict[str, layers.Layer]:
    """The innermost layers that have weights, by path, in the order of their making."""
    every = dict.fromkeys(paths(network).values())
    outer = {path[:at] for path in every for at, sign in enumerate(path) if sign == "."}
    found = {path: _at(network, path) for path in every if path not in outer}
    return {path: layer for path, layer in found.items() if layer.weights}


def _at(network: keras.Model, path: str) -> layers.Layer:
    def step(parent, name):
        return parent[int(name)] if name.isdecimal() else getattr(parent, name)

    return reduce(step, path.split("."), network)
