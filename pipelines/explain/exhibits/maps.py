"""Filters, what they make of an input, and the inputs of a data set that they answer to most."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import tree

from models.graph import Step, replay, steps
from models.receptive import Fields, receptive_fields
from pipelines.datasets import Example
from pipelines.explain.errors import ExplainError
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.feature_maps import degrees, filters, patch, strongest
from pipelines.explain.network import Network
from pipelines.explain.pictures.sheet import Cell, sheet
from serving.errors import InvalidInput

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
    read: list[tuple[npt.NDArray, Example]] = []
    numbers = list(units) if units else list(range(min(count, SHOWN)))
    batches = _batches(network, examples, read)
    found = strongest(lambda x: features(x, training=False).numpy(), batches, numbers, EACH)
    if not read:
        raise ExplainError("none of these inputs could be read")
    if not units:
        numbers = sorted(numbers, key=lambda unit: -found[unit][0].value)[:UNITS]
    rows, facts, values = [], [], {}
    for unit in numbers:
        row, words = [], []
        for each in found[unit]:
            example, source = read[each.index]
            cut = patch(example, each.position, _fields(network, name, example.shape))
            label = network.labels[source.class_id]
            if network.domain == "text":
                tokens = network.inputs.tokens(str(source.source), example)
                span = _span(network, name, example.shape, each.position)
                words.append(" ".join(tokens[max(0, span.start) : span.stop]))
                continue
            row.append(Cell(_picture(network, cut), f"{label}: {each.value:.3g}"))
        values[f"unit_{unit}"] = np.array([(e.index, e.value, e.degree) for e in found[unit]])
        rows.append(row)
        if words:
            facts.append(f"{name}, filter {unit}: {' | '.join(dict.fromkeys(words))}")
    names = [f"filter {unit}" for unit in numbers]
    title = f"{network.name}: what excites filters of {name} most, of {len(read):,} inputs"
    if network.domain == "text":
        from pipelines.explain.pictures.words import listed

        lines = {
            n: fact.partition(": ")[2].split(" | ") for n, fact in zip(names, facts, strict=True)
        }
        return Exhibit(listed(title, lines), values, facts)
    return Exhibit(sheet(rows, title, names), values, [f"{name}: {len(read):,} inputs"])


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


def _batches(
    network: Network, examples: Sequence[Example], read: list[tuple[npt.NDArray, Example]]
) -> Iterator[npt.NDArray]:
    """Examples of one shape together, and in `read` in the order in which they go."""
    waiting: dict[tuple[int, ...], list[tuple[npt.NDArray, Example]]] = {}
    for each in examples:
        source = each.source
        try:
            item = source.read_bytes() if isinstance(source, Path) else source
            example = network.example(item)
        except (InvalidInput, OSError):
            continue
        group = waiting.setdefault(example.shape, [])
        group.append((example, each))
        if len(group) == BATCH:
            read.extend(group)
            yield np.stack([example for example, _ in waiting.pop(example.shape)])
    for group in waiting.values():
        read.extend(group)
        yield np.stack([example for example, _ in group])


def _fields(network: Network, layer: str, shape: tuple[int, ...]) -> Fields:
    number = next(n for n, step in enumerate(network.steps) if step.output is network.layer(layer))
    sized = replay(network.model, lambda operation, *a, **k: operation(*a, **k), shape)
    trace = steps(sized)
    return receptive_fields(trace)[id(tree.flatten(trace[number].output)[0])]


def _span(network: Network, layer: str, shape: tuple[int, ...], position: Sequence[int]) -> range:
    (field,) = _fields(network, layer, shape)[:1]
    return field.at(position[0]) if field.stride and position else range(shape[0])


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
