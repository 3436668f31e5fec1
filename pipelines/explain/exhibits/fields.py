"""What part of an input a layer's position sees, and what there excited its filters."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.explain.canvas import Canvas
from pipelines.explain.deconvnet import deconvnet
from pipelines.explain.enlarge import fields_of
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.network import Network
from pipelines.explain.pictures.sheet import Cell, sheet
from pipelines.explain.receptive_field import effective, footprint, input_gradients, spread

INPUTS = 64  # at random
UNITS = 8


def receptive_field(network: Network, item: bytes, *, layer: str | None = None) -> Exhibit:
    """Of a layer's middle position, on the input: by arithmetic, by gradients, and how much."""
    canvas = Canvas.of(network)
    name = layer or network.last_conv
    example = network.example(item)
    size = example.shape[:2]
    model = canvas.model(name, size=size)
    fields, _ = fields_of(network, name, example.shape)
    shape = model(canvas.inputs(example)[None], training=False).shape[1:-1]
    position = tuple(side // 2 for side in shape)
    field = np.zeros(size, bool)
    # What sees all of an axis, as after global pooling, has no place along it.
    places = [range(f.start, f.start + f.size) if not f.stride else None for f in fields]
    moving = iter(position)
    spans = [place or f.at(next(moving)) for f, place in zip(fields, places, strict=True)]
    field[tuple(slice(max(0, s.start), max(0, s.stop)) for s in spans)] = True
    noise = np.random.default_rng(0).uniform(size=(INPUTS, *example.shape)).astype(np.float32)
    one = input_gradients(model, canvas.inputs(example)[None], position)[0] > 0
    many = footprint(canvas.model(name, size=size, average_pool=True), noise, position)
    shares = effective(model, noise, position)
    picture = canvas.picture(canvas.inputs(example))
    upright = (lambda m: m.T[::-1]) if network.domain == "audio" else (lambda m: m)
    cells = [
        Cell(_lit(picture, upright(field)), f"arithmetic:\n{field.sum():,} places"),
        Cell(_lit(picture, upright(one)), f"this input's gradient:\n{one.sum():,}"),
        Cell(_lit(picture, upright(many)), f"random inputs' together:\n{many.sum():,}"),
        Cell(
            upright(shares),
            "how much each counts:\ndeviation {:.1f}, {:.1f}".format(*spread(shares)),
        ),
    ]
    sizes = " x ".join(str(f.size) for f in fields)
    title = f"{network.name}: what position {position} of {name} sees ({sizes})"
    outside = int((many & ~field).sum())
    facts = [
        f"{name}: field {sizes}, {field.sum():,} places of the input; gradients reach"
        f" {(many & field).sum():,} of them, and {outside} outside; effective deviation"
        " {:.2f}, {:.2f}".format(*spread(shares))
    ]
    values = {"field": field, "footprint": many, "effective": shares}
    return Exhibit(sheet([cells], title, inches=1.7), values, facts)


def reconstruction(
    network: Network, item: bytes, *, layer: str | None = None, units: Sequence[int] | None = None
) -> Exhibit:
    """Deconvnet: of the filters that the input excites most, what in it did."""
    canvas = Canvas.of(network)
    name = layer or network.last_conv
    clean = canvas.inputs(network.example(item))
    model = canvas.model(name, size=clean.shape[:2])
    if not units:
        maps = model(clean[None], training=False)[0]
        peaks = tf.reduce_max(tf.reshape(maps, [-1, maps.shape[-1]]), axis=0).numpy()
        units = [int(unit) for unit in np.argsort(-peaks)[:UNITS]]
    back = deconvnet(model, np.repeat(clean[None], len(units), axis=0), tuple(units))
    cells = [Cell(canvas.picture(clean), "input")]
    for unit, each in zip(units, back, strict=True):
        if network.domain == "audio":
            cells.append(Cell(each.T[::-1].astype(np.float32), f"filter {unit}"))
        else:
            most = np.abs(each).max() or 1.0
            levels = ((each / most + 1) * 127.5).round().astype(np.uint8)
            cells.append(Cell(levels if levels.shape[-1] == 3 else each[..., 0], f"filter {unit}"))
    title = f"{network.name}: what excited filters of {name} (deconvnet)"
    facts = [f"{name}: filters {', '.join(map(str, units))}"]
    half = (len(cells) + 1) // 2
    return Exhibit(sheet([cells[:half], cells[half:]], title, inches=1.3), {"inputs": back}, facts)


def _lit(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Dark but for the mask."""
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    share = np.where(mask[..., None], 1.0, 0.25)
    return (colours * share + np.where(mask[..., None], 0, 30)).clip(0, 255).astype(np.uint8)
