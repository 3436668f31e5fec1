"""Filters, what they make of an input, and the inputs of a data set that they answer to most."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import keras
import numpy as np
import numpy.typing as npt
from keras import tree

from models.graph import Step
from pipelines.datasets import Example
from pipelines.explain.enlarge import fields_of
from pipelines.explain.errors import ExplainError
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.exhibits.reading import Readable, read
from pipelines.explain.feature_maps import degrees, filters, patch, strongest
from pipelines.explain.network import Network
from pipelines.explain.pictures.sheet import Cell, sheet
from pipelines.explain.pictures.words import listed

SHOWN = 64  # filters
COLUMNS = 8
UNITS, EACH = 6, 8  # of a data set: filters, and inputs of each
BATCH = 64


def of_filters(network: Network, *, layer: str | None = None) -> Exhibit:
    """The weights of a layer's filters, the first convolution's by default.

    A filter of three channels is drawn in colours, 0 grey; of others the first channel, below 0
    purple and above it orange.
    """
    name, step = _convolution(network, layer)
    try:
        kernels = filters(step)
    except ValueError as error:
        raise ExplainError(f"{name} has no filters: {error}") from error
    shown = kernels[:SHOWN]
    columns, inches = 16, 0.62
    if network.domain == "text" and shown.ndim == 3:  # h words, one below the other, x D
        shown, columns, inches = shown[: SHOWN // 4, ..., None], 4, 1.7
    if network.domain == "audio":
        shown = shown[..., None] if shown.ndim == 3 else shown
        shown = np.swapaxes(shown, 1, 2)[:, ::-1]  # time from left to right, low bands below
    colours = network.domain == "image" and shown.shape[-1] == 3
    most = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    pictures = ((shown / most + 1) * 127.5).round().astype(np.uint8) if colours else shown[..., 0]
    cells = [Cell(each, str(number)) for number, each in enumerate(pictures)]
    channel = "" if colours or shown.shape[-1] == 1 else ", channel 0"
    title = f"{network.name}: filters of {name}, {_size(kernels)}{channel}"
    facts = [f"{name}: {len(kernels)} filters of {_size(kernels)}"]
    return Exhibit(sheet(_rows(cells, columns), title, inches=inches), {"filters": kernels}, facts)


def of_input(network: Network, item: bytes | str, *, layer: str | None = None) -> Exhibit:
    """The maps that a layer makes of an input, those of the largest degree first."""
    name = layer or _convolution(network, None)[0]
    example = network.example(item)
    maps = network.features(name)(example[None], training=False)[0].numpy()[0]
    sums = degrees(maps)
    order = np.argsort(-sums)[:SHOWN]
    cells = [Cell(_upright(network, maps[..., k]), f"{k}: {sums[k]:.3g}") for k in order]
    title = f"{network.name}: maps of {name}, and how much each is excited (the sum over it)"
    best = ", ".join(f"{k} ({sums[k]:.4g})" for k in order[:5])
    facts = [f"{name}: {maps.shape[-1]} maps; most excited: {best}"]
    return Exhibit(sheet(_rows(cells, COLUMNS), title), {"maps": maps, "degrees": sums}, facts)


def of_data(
    network: Network,
    examples: Sequence[Example],
    *,
    layer: str | None = None,
    units: Sequence[int] | None = None,
) -> Exhibit:
    """What the inputs that excite a layer's filters most have where they do: its field alone.

    Args:    units: filters; by default those that answer to few inputs most.
    """
    name = layer or network.last_conv
    features = keras.Model(network.model.input, network.layer(name))
    count = features.output.shape[-1]
    wrong = [unit for unit in units or () if not 0 <= unit < count]
    if wrong:
        raise ExplainError(f"{name} has no filter {wrong[0]}: it has 0 to {count - 1}")
    numbers = list(units) if units else list(range(min(count, SHOWN)))
    inputs = sorted(read(network, examples), key=lambda each: each.example.shape)
    found = strongest(
        lambda x: features(x, training=False).numpy(), _batches(inputs), numbers, EACH
    )
    if not units:
        numbers = sorted(numbers, key=lambda unit: -found[unit][0].value)[:UNITS]
    rows, facts, values = [], [], {}
    for unit in numbers:
        row, words = [], []
        for each in found[unit]:
            item, example, class_id = inputs[each.index]
            fields, _ = fields_of(network, name, example.shape)
            cut = patch(example, each.position, fields)
            if network.domain == "text":
                tokens = network.inputs.tokens(item, example)
                field = fields[0]
                whole = not field.stride or not each.position
                span = range(len(tokens)) if whole else field.at(each.position[0])
                words.append(" ".join(tokens[max(0, span.start) : span.stop]))
                continue
            row.append(
                Cell(_picture(network, cut), f"{network.labels[class_id]}: {each.value:.3g}")
            )
        values[f"unit_{unit}"] = np.array([(e.index, e.value, e.degree) for e in found[unit]])
        rows.append(row)
        if words:
            facts.append(f"{name}, filter {unit}: {' | '.join(dict.fromkeys(words))}")
    names = [f"filter {unit}" for unit in numbers]
    title = f"{network.name}: what excites filters of {name} most, of {len(inputs):,} inputs"
    if network.domain == "text":
        grams = [fact.partition(": ")[2].split(" | ") for fact in facts]
        lines = dict(zip(names, grams, strict=True))
        return Exhibit(listed(title, lines), values, facts)
    return Exhibit(
        sheet(rows, title, names, inches=0.85), values, [f"{name}: {len(inputs):,} inputs"]
    )


def _convolution(network: Network, layer: str | None) -> tuple[str, Step]:
    """The layer's step, or the first that has filters, under its path."""
    makers = {id(x): step for step in network.steps for x in tree.flatten(step.output)}
    if layer is not None:
        return layer, makers[id(network.layer(layer))]
    for name, output in network.layers.items():
        kind = type(makers[id(output)].operation).__name__
        if "Conv" in kind and "Transpose" not in kind:
            return name, makers[id(output)]
    raise ExplainError(f"{network.name} has no convolution")


def _batches(inputs: Sequence[Readable]) -> Iterator[npt.NDArray]:
    """Examples of one shape together, as they stand in the list."""
    for _, group in groupby(inputs, key=lambda each: each.example.shape):
        together = [each.example for each in group]
        for first in range(0, len(together), BATCH):
            yield np.stack(together[first : first + BATCH])


def _picture(network: Network, part: npt.NDArray) -> npt.NDArray:
    return _upright(network, part) if network.domain == "audio" else network.inputs.picture(part)


def _upright(network: Network, values: npt.NDArray) -> npt.NDArray:
    """Of a sound, time from left to right and low bands below; a line of numbers as a stripe."""
    values = values[:, None] if values.ndim == 1 else values
    values = np.atleast_2d(values)
    if network.domain == "audio":
        values = values.T[::-1]
        return (values - values.min()).astype(np.float32)
    return values.T if network.domain == "text" else values


def _rows(cells: Sequence[Cell], columns: int) -> list[Sequence[Cell]]:
    return [cells[n : n + columns] for n in range(0, len(cells), columns)]


def _size(kernels: npt.NDArray) -> str:
    return " x ".join(str(side) for side in kernels.shape[1:])
