"""What each tensor of a network sees of its input, by walking the network's steps.

The arithmetic is geometry.py's. A step that has no rule below works on each position by itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import tree

from models.geometry import Field, edges, extent
from models.graph import Step, rule_for

Fields = tuple[Field, ...]  # along each axis of the input that has positions: (height, width)


class View(NamedTuple):
    axes: tuple[int | None, ...]  # the field that each axis of the tensor moves; batch left out
    fields: Fields


def receptive_fields(steps: Sequence[Step]) -> dict[int, Fields]:
    """id(tensor) -> its fields.

    An input [H, W, C] has positions along H and W, and [T, F] or [T] along all of its axes.
    """
    views: dict[int, View] = {}
    for step in steps:
        for x in step.inputs:
            if id(x) not in views:  # the network's input: no step has made it
                views[id(x)] = _itself(len(x.shape) - 1)
        rule = rule_for(step.operation, RULES) or _pointwise
        view = rule(step, *(views[id(x)] for x in step.inputs))
        for output in tree.flatten(step.output):
            views[id(output)] = _settled(view, output.shape[1:])
    return {tensor: view.fields for tensor, view in views.items()}


def _itself(rank: int) -> View:
    positions = min(rank, 2)
    return View((*range(positions), *[None] * (rank - positions)), (Field(),) * positions)


def _settled(view: View, shape: tuple[int, ...]) -> View:
    """With a stride of 0 along whatever has one position alone."""
    axes = tuple(None if size == 1 else axis for axis, size in zip(view.axes, shape, strict=True))
    fields = (f if n in axes else f.over(1) for n, f in enumerate(view.fields))
    return View(axes, tuple(fields))


def _merged(view: View, shape: Sequence[int], lost: Sequence[int]) -> Fields:
    """The fields of what takes all positions along some of a tensor's axes together."""
    fields = list(view.fields)
    for axis in lost:
        if view.axes[axis] is not None:
            fields[view.axes[axis]] = fields[view.axes[axis]].over(shape[axis])
    return tuple(fields)


def _pointwise(step: Step, *views: View) -> View:
    """Sums, products and functions of single values, with NumPy's broadcasting."""
    shape = step.output.shape[1:]
    axes: list[int | None] = [None] * len(shape)
    for x, view in zip(step.inputs, views, strict=True):
        places = range(len(shape) - len(view.axes), len(shape))
        for place, axis, size in zip(places, view.axes, x.shape[1:], strict=True):
            if place < 0 or size not in (1, shape[place]):
                return _everything(step, *views)
            if axis is not None:
                if axes[place] not in (None, axis):
                    return _everything(step, *views)
                axes[place] = axis
    moved = [axis for axis in axes if axis is not None]
    if len(set(moved)) < len(moved):
        return _everything(step, *views)
    return View(tuple(axes), _union(views, [_count(axes, shape, n) for n in _numbers(views)]))


def _everything(step: Step, *views: View) -> View:
    """Each output may depend on each input."""
    merged = [
        _merged(view, x.shape[1:], range(len(view.axes)))
        for x, view in zip(step.inputs, views, strict=True)
    ]
    rank = len(tree.flatten(step.output)[0].shape) - 1
    fields = _union([View((), fields) for fields in merged], [1] * len(merged[0]))
    return View((None,) * rank, fields)


def _union(views: Sequence[View], positions: Sequence[int]) -> Fields:
    fields = views[0].fields
    for view in views[1:]:
        pairs = zip(fields, view.fields, positions, strict=True)
        fields = tuple(one.union(other, count) for one, other, count in pairs)
    return fields


def _numbers(views: Sequence[View]) -> range:
    return range(len(views[0].fields))


def _count(axes: Sequence[int | None], shape: Sequence[int], number: int) -> int:
    """How many positions a tensor has along one of the input's axes."""
    return shape[axes.index(number)] if number in axes else 1


def _window(step: Step, view: View, *_: View) -> View:
    """A kernel or pool that moves along all axes but the last, and takes all of that one."""
    op = step.operation
    if hasattr(op, "pool_size"):
        sizes: Any = op.pool_size
    else:
        sizes = getattr(op, "kernel_size", None) or step.arguments[1].shape[:-2]
    rank = len(view.axes) - 1
    strides = _each(getattr(op, "strides", None) or sizes, rank)
    dilations = _each(getattr(op, "dilation_rate", 1), rank)
    shape = step.inputs[0].shape[1:]
    pooling = hasattr(op, "pool_size")
    fields = list(view.fields if pooling else _merged(view, shape, [rank]))
    windows = zip(_each(sizes, rank), strides, dilations, strict=True)
    for axis, (size, stride, dilation) in enumerate(windows):
        number = view.axes[axis]
        if number is None:
            continue
        if op.padding == "causal":
            before = extent(size, dilation) - 1
        else:
            before, _after = edges(shape[axis], size, stride, op.padding, dilation)
        fields[number] = fields[number].through(size, stride, before, dilation)
    return View((*view.axes[:-1], view.axes[-1] if pooling else None), tuple(fields))


def _each(value: int | Sequence[int], count: int) -> Sequence[int]:
    return [value] * count if isinstance(value, int) else list(value)


def _dense(step: Step, view: View, *_: View) -> View:
    last = len(view.axes) - 1
    return View((*view.axes[:-1], None), _merged(view, step.inputs[0].shape[1:], [last]))


def _reduction(step: Step, view: View) -> View:
    """A mean, maximum or sum along some axes."""
    op, rank = step.operation, len(view.axes)
    pools = isinstance(op, keras.layers.Layer)  # all axes but the channels
    lost = list(range(rank - 1)) if pools else _places(op.axis, rank)
    fields = _merged(view, step.inputs[0].shape[1:], lost)
    if op.keepdims:
        return View(tuple(None if n in lost else a for n, a in enumerate(view.axes)), fields)
    return View(tuple(a for n, a in enumerate(view.axes) if n not in lost), fields)


def _places(axis: int | Sequence[int] | None, rank: int) -> list[int]:
    """Axes of a tensor with its batch -> without."""
    if axis is None:
        return list(range(rank))
    return [
        (n if n >= 0 else n + rank + 1) - 1 for n in ([axis] if isinstance(axis, int) else axis)
    ]


def _shifted(before: Callable[[Step, int], Sequence[int]]) -> Callable[..., View]:
    """Rows added at the start of each axis, or, where negative, cut off."""

    def rule(step: Step, view: View, *_: View) -> View:
        fields = list(view.fields)
        for axis, rows in zip(view.axes, before(step, len(view.axes)), strict=True):
            if axis is not None:
                fields[axis] = fields[axis].through(1, before=rows)
        return View(view.axes, tuple(fields))

    return rule


def _pad(step: Step, rank: int) -> list[int]:
    widths = step.operation.pad_width
    return [before for before, _ in (widths if len(widths) > 1 else widths * (rank + 1))[1:]]


def _zero_padding(step: Step, rank: int) -> list[int]:
    padding = step.operation.padding
    return [before for before, _ in ([padding] if rank == 2 else padding)] + [0]


def _cropping(step: Step, rank: int) -> list[int]:
    cropping = step.operation.cropping
    return [-before for before, _ in ([cropping] if rank == 2 else cropping)] + [0]


def _slice(step: Step, view: View) -> View:
    """x[:, ::2, 3]: along an axis every so manieth position, or one alone."""
    key = step.arguments[1]
    key = list(key) if isinstance(key, tuple | list) else [key]
    if Ellipsis in key:
        gap = key.index(Ellipsis)
        key[gap : gap + 1] = [slice(None)] * (len(view.axes) + 2 - len(key) + key.count(None))
    shape, fields = step.inputs[0].shape, list(view.fields)
    axes, place = [], 0
    for part in [*key, *[slice(None)] * (len(shape) - len(key) + key.count(None))]:
        if part is None:
            axes.append(None)
            continue
        axis = view.axes[place - 1] if place else None
        if isinstance(part, slice):
            if place:
                axes.append(axis)
            if axis is not None:
                start, _, stride = part.indices(shape[place])
                fields[axis] = fields[axis].through(1, stride, before=-start)
        elif axis is not None:
            fields[axis] = fields[axis].through(1, before=-(part % shape[place])).over(1)
        place += 1
    return View(tuple(axes), tuple(fields))


def _reshape(step: Step, view: View) -> View:
    """Axes in front that keep their size keep their positions; the rest is mixed."""
    before, after = step.inputs[0].shape[1:], step.output.shape[1:]
    kept = 0
    while kept < min(len(before), len(after)) and before[kept] == after[kept]:
        kept += 1
    mixed = range(kept, len(before))
    fields = _merged(view, before, mixed)
    return View((*view.axes[:kept], *[None] * (len(after) - kept)), fields)


def _transpose(step: Step, view: View) -> View:
    rank = len(view.axes)
    if isinstance(step.operation, keras.layers.Permute):
        order = [n - 1 for n in step.operation.dims]
    else:
        order = _places(step.operation.axes or list(range(rank, -1, -1)), rank)[1:]
    return View(tuple(view.axes[n] for n in order), view.fields)


def _expand(step: Step, view: View) -> View:
    axes = list(view.axes)
    rank = len(step.output.shape) - 1
    for place in sorted(_places(step.operation.axis, rank)):
        axes.insert(place, None)
    return View(tuple(axes), view.fields)


def _squeeze(step: Step, view: View) -> View:
    shape = step.inputs[0].shape[1:]
    axis = step.operation.axis
    lost = [n for n, s in enumerate(shape) if s == 1] if axis is None else _places(axis, len(shape))
    return View(tuple(a for n, a in enumerate(view.axes) if n not in lost), view.fields)


def _choice(step: Step, *views: View) -> View:
    """What joins, splits or picks along one axis: for channels, whatever any of them sees."""
    (place,) = _places(step.operation.axis, len(views[0].axes))
    if any(view.axes[place] is not None for view in views):
        return _everything(step, *views)
    axes, shape = views[0].axes, step.inputs[0].shape[1:]
    return View(axes, _union(views, [_count(axes, shape, n) for n in _numbers(views)]))


def _embedding(step: Step, view: View) -> View:
    return View((*view.axes, None), view.fields)


# Keras's own names of layers and operations, or of the classes that they inherit from.
RULES: dict[str, Callable[..., View]] = {
    **dict.fromkeys(("BaseConv", "BaseDepthwiseConv", "BaseSeparableConv"), _window),
    **dict.fromkeys(("Conv", "DepthwiseConv", "SeparableConv"), _window),
    **dict.fromkeys(("BasePooling", "MaxPool", "AveragePool"), _window),
    **dict.fromkeys(("BaseGlobalPooling", "Mean", "Max", "Min", "Sum", "Var", "Std"), _reduction),
    "Any": _reduction,
    "Dense": _dense,
    "Pad": _shifted(_pad),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D"), _shifted(_zero_padding)),
    **dict.fromkeys(("Cropping1D", "Cropping2D"), _shifted(_cropping)),
    "GetItem": _slice,
    **dict.fromkeys(("Reshape", "Flatten"), _reshape),
    **dict.fromkeys(("Transpose", "Permute"), _transpose),
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    **dict.fromkeys(("Concatenate", "Split", "Take"), _choice),
    **dict.fromkeys(("Embedding", "OneHot"), _embedding),
    **dict.fromkeys(("TopK", "Sort", "TakeAlongAxis"), _everything),
    **dict.fromkeys(("BaseConvTranspose", "ConvTranspose", "Matmul", "Einsum"), _everything),
}
