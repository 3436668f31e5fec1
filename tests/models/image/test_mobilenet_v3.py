"""MobileNet v3: both tables' sizes; equal to keras.applications at sides that are odd."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.graph import shapes_only
from models.image.mobilenet_v3 import LARGE, SMALL, VARIANTS, MobileNetV3
from models.weights.keras_applications import DONORS, build, carry_application

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rows", "strided", "last"), [(LARGE, (1, 3, 6, 12), 960), (SMALL, (0, 1, 3, 8), 576)]
)
def test_sizes_of_the_tables(rows: tuple, strided: tuple[int, ...], last: int) -> None:
    """The column "#out" for each row, and the expansion, which we work out, is "exp size"."""
    with shapes_only():
        network = MobileNetV3(10, rows)
        x = network.stem(keras.KerasTensor((1, 224, 224, 3)))
        assert x.shape == (1, 112, 112, 16)
        shapes, expansions = [], []
        for block in network.stages:
            expand = block.layers[0]
            expansions.append(expand.conv.filters if expand else x.shape[-1])
            x = block(x)
            shapes.append(x.shape[1::2])
        assert network.last(x).shape == (1, 7, 7, last)
    halvings = [sum(at <= number for at in strided) for number in range(len(rows))]
    wanted = [(112 // 2**n, row.out) for n, row in zip(halvings, rows, strict=True)]
    assert shapes == wanted
    assert expansions == [row.exp_size for row in rows]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_layer_behind_the_pooling_has_a_bias_and_no_norm(name: str) -> None:
    with shapes_only():
        network = models.create_model(name, 10)
        network.call(keras.KerasTensor((1, 224, 224, 3)))
        inner = network.rows[-1].out * 6
        shapes = [tuple(w.shape) for w in network.fc.weights]
    units = VARIANTS[name]["units"]
    assert shapes == [(inner, units), (units,)]


def test_equal_to_keras_applications_at_odd_sides() -> None:
    """Where a 5x5 with stride 2 has padding (2, 2) and not (1, 2)."""
    donor = DONORS["mobilenet_v3_small"]
    theirs = build(donor, None, 7, input_shape=(75, 49, 3))
    for weight in theirs.weights:
        if "kernel" not in weight.path:
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    ours = models.create_model("mobilenet_v3_small", 7)
    ours(keras.KerasTensor((1, 75, 49, 3)))
    carry_application(ours, theirs, donor)
    x = RNG.normal(size=(2, 75, 49, 3)).astype(np.float32)
    wanted = convert_to_numpy(theirs(x, training=False))
    got = convert_to_numpy(ours(x, training=False))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


def test_small_images() -> None:
    network = MobileNetV3(10, SMALL, 1024, include_top=False, pooling=None, small_images=True)
    assert network.call(keras.KerasTensor((1, 32, 32, 3))).shape == (1, 4, 4, 576)
