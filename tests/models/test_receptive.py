"""Receptive fields of whole networks, against where their gradients reach."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import models
from models.geometry import Field
from models.graph import steps, unroll
from models.image.inception_resnet_v2 import ROWS
from models.receptive import receptive_fields


class Case(NamedTuple):
    options: dict[str, Any]
    shape: tuple[int, ...]


# fmt: off
CASES = {
    "resnet20": Case({"filters": 4, "blocks": 1}, (64, 56, 3)),
    "separable_cnn": Case({"filters": 4, "blocks": 3}, (64, 56, 3)),
    "frequency_cnn": Case({"filters": 4}, (40, 40)),
    "cnn_trad_fpool3": Case({"rows": ((20, 8, 4, 3, 1), (10, 4, 4, 1, 1)), "units": (8,)},
                            (48, 40)),
    "bc_resnet1": Case({"width_multiplier": 0.5, "rows": ((1, 1.5, 2, 2), (2, 2, 2, 4))}, (60, 80)),
    "lenet5": Case({"modern": True}, (32, 32, 1)),
    "vgg11_bn": Case({"convs": (1, 2, 1), "filters": 8, "units": 16}, (40, 48, 3)),
    "inception_v3": Case({"pool_filters": (32,), "inner_filters": (128,), "expanded": 1,
                          "width_multiplier": 1 / 32}, (299, 203, 3)),
    "inception_resnet_v2": Case({"rows": [row._replace(modules=1) for row in ROWS],
                                 "width_multiplier": 1 / 32}, (299, 203, 3)),
    "xception": Case({"stem_filters": (4, 6), "entry_filters": (6, 8, 10), "middle_blocks": 1,
                      "exit_filters": (12, 14, 16)}, (203, 171, 3)),
    "resnet50": Case({"blocks": (1, 2, 1), "filters": 4}, (200, 160, 3)),
    "resnext50_32x4d": Case({"blocks": (1, 1, 1), "filters": 4, "cardinality": 2}, (128, 97, 3)),
    "se_resnet50": Case({"blocks": (1, 1, 1), "filters": 4, "reduction": 4}, (64, 48, 3)),
    "resnet50v2": Case({"blocks": (1, 2, 1), "filters": 4}, (200, 160, 3)),
    "densenet121": Case({"blocks": (2, 2, 2), "growth_rate": 4}, (160, 128, 3)),
    "squeezenet1_1": Case({"stem_filters": 8, "fires": ((2, 4, 4), (2, 4, 4), (2, 6, 6)),
                           "pools": (1, 2), "bypass": "complex"}, (95, 127, 3)),
    "mobilenet": Case({"width_multiplier": 1 / 16}, (224, 192, 3)),
    "mobilenet_v2": Case({"width_multiplier": 1 / 16}, (224, 192, 3)),
    "mobilenet_v3_small": Case({"width_multiplier": 1 / 8, "units": 16}, (64, 64, 3)),
    "shufflenet_v1": Case({"groups": 2, "filters": 32, "units": (2, 2)}, (128, 96, 3)),
    "shufflenet_v2_x0_5": Case({"filters": (8, 16), "units": (2, 2), "last": 16}, (128, 96, 3)),
}
# fmt: on


def positive(network: keras.Model) -> None:
    """No path through the network cancels another."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        shape = weight.shape
        if len(shape) > 1:
            weight.assign(rng.uniform(0.5, 1.0, shape) / np.prod(shape[:-1]))
        else:
            zero = weight.name in ("bias", "beta", "moving_mean")
            weight.assign(np.zeros(shape) if zero else np.ones(shape))


def averages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Max pooling has a gradient at its maximum alone; a mean sees as far."""
    monkeypatch.setattr(
        layers.MaxPooling2D,
        "call",
        lambda self, x: ops.average_pool(x, self.pool_size, self.strides, self.padding),
    )


def fields_and_footprints(network: keras.Model, shape: tuple[int, ...], count: int = 8):
    """Of some maps (name, a position, its fields, where the input has a gradient)."""
    done = steps(unroll(network, shape))
    positive(network)
    fields = receptive_fields(done)
    whole = [step for step in done if not isinstance(step.output, list)]
    maps = [s for s in whole if any(f.stride for f in fields[id(s.output)])]
    maps = [maps[n] for n in np.linspace(0, len(maps) - 1, count).astype(int)]
    model = keras.Model(done[0].inputs, [step.output for step in maps])
    places = [[size // 2 for size in step.output.shape[1:3]] for step in maps]

    # A graph leaves out the gradients of the weights, which nobody asks for.
    @tf.function
    def gradients(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            outputs = model(x, training=False)
            seen = [y[0, n, m] for y, (n, m) in zip(outputs, places, strict=True)]
        return [tape.gradient(y, x)[0] for y in seen]

    reached = map(np.nonzero, gradients(tf.random.uniform((1, *shape), 0.5, 1.0, seed=0)))
    for step, place, axes in zip(maps, places, reached, strict=True):
        extents = [(axis.min(), axis.max() + 1) for axis in axes[:2]]
        yield step.operation.name, place, fields[id(step.output)], extents


@pytest.mark.parametrize("name", CASES)
def test_a_positions_field_is_where_its_gradient_reaches(name, monkeypatch) -> None:
    averages(monkeypatch)
    case = CASES[name]
    network = models.create_model(name, 3, **case.options)
    for step, place, fields, extents in fields_and_footprints(network, case.shape):
        for axis, field in enumerate(fields):
            seen = field.at(place[axis] if field.stride else 0)
            wanted = max(0, seen.start), min(case.shape[axis], seen.stop)
            assert extents[axis] == wanted, (step, place, axis, field)


def fields_of(call, shape: tuple[int, ...]) -> tuple[Field, ...]:
    inputs = keras.Input(shape)
    done = steps(keras.Model(inputs, call(inputs)))
    return receptive_fields(done)[id(done[-1].output)]


def shuffled(x):
    """Channels, as ShuffleNet does it."""
    pairs = ops.transpose(ops.reshape(x, (-1, 9, 8, 2, 2)), (0, 1, 2, 4, 3))
    return ops.reshape(pairs, (-1, 9, 8, 4))


@pytest.mark.parametrize(
    ("call", "height", "width"),
    [
        (lambda x: x[:, 1::2, 3], Field(1, 2, 1), Field(1, 0, 3)),
        (lambda x: x[..., 5:, -2:, :2], Field(1, 1, 5), Field(1, 1, 6)),
        (lambda x: ops.pad(x, [(0, 0), (2, 1), (0, 0), (1, 1)]), Field(1, 1, -2), Field()),
        (layers.ZeroPadding2D(((0, 1), (3, 1))), Field(), Field(1, 1, -3)),
        (layers.Cropping2D(((1, 0), (2, 2))), Field(1, 1, 1), Field(1, 1, 2)),
        (lambda x: ops.transpose(x, (0, 2, 1, 3))[:, ::4], Field(), Field(1, 4, 0)),
        (lambda x: ops.mean(x, axis=1), Field(9, 0, 0), Field()),
        (lambda x: x * ops.max(x, axis=(1, 2), keepdims=True), Field(9, 0, 0), Field(8, 0, 0)),
        (layers.Flatten(), Field(9, 0, 0), Field(8, 0, 0)),
        (lambda x: shuffled(x), Field(), Field()),
        (lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=-1), Field(), Field()),
        (lambda x: ops.concatenate([x, x], axis=1), Field(9, 0, 0), Field(8, 0, 0)),
        (lambda x: ops.squeeze(ops.expand_dims(x, 1), 1)[:, ::2], Field(1, 2, 0), Field()),
        (layers.Conv2D(2, 3, dilation_rate=2), Field(5, 1, 0), Field(5, 1, 0)),
        (layers.DepthwiseConv2D((1, 3), 2, padding="same"), Field(1, 2, 0), Field(3, 2, 0)),
        (layers.Conv2DTranspose(2, 3, 2), Field(9, 0, 0), Field(8, 0, 0)),
        (layers.Dense(3), Field(), Field()),
    ],
)
def test_steps_of_each_kind(call, height, width) -> None:
    assert fields_of(call, (9, 8, 4)) == (height, width)


def test_channels_that_were_an_axis_of_the_input() -> None:
    """Convolution along time alone takes all mel bands at once."""
    time, bands = fields_of(layers.Conv1D(4, 3, padding="causal"), (20, 40))
    assert (time, bands) == (Field(3, 1, -2), Field(40, 0, 0))
