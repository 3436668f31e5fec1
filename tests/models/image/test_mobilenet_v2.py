"""MobileNet v2: table 2's sizes; equal to keras.applications at sides that do not halve evenly."""

import keras
import numpy as np
from keras.ops import convert_to_numpy

import models
from models.graph import shapes_only
from models.image.mobilenet_v2 import TABLE, MobileNetV2
from models.weights.keras_applications import DONORS, build, carry_application

RNG = np.random.default_rng(0)


def test_sizes_of_the_table() -> None:
    with shapes_only():
        network = MobileNetV2(10)
        x = network.stem(keras.KerasTensor((1, 224, 224, 3)))
        assert x.shape == (1, 112, 112, 32)
        shapes = []
        for block in network.stages:
            x = block(x)
            shapes.append(x.shape[1::2])
        assert network.last(x).shape == (1, 7, 7, 1280)
    sizes = (112, 56, 28, 14, 14, 7, 7)
    rows = zip(sizes, TABLE, strict=True)
    assert shapes == [(size, row.c) for size, row in rows for _ in range(row.n)]


def test_equal_to_keras_applications_at_odd_sides() -> None:
    """Where padding is (1, 1) and not (0, 1): 75 > 38 > 19 > 10 > 5 > 3."""
    theirs = build(DONORS["mobilenet_v2"], None, 7, input_shape=(75, 49, 3))
    for weight in theirs.weights:
        if "kernel" not in weight.path:
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    ours = models.create_model("mobilenet_v2", 7)
    ours(keras.KerasTensor((1, 75, 49, 3)))
    carry_application(ours, theirs, DONORS["mobilenet_v2"])
    x = RNG.normal(size=(2, 75, 49, 3)).astype(np.float32)
    wanted = convert_to_numpy(theirs(x, training=False))
    got = convert_to_numpy(ours(x, training=False))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


def test_small_images() -> None:
    network = MobileNetV2(10, include_top=False, pooling=None, small_images=True)
    assert network.call(keras.KerasTensor((1, 32, 32, 3))).shape == (1, 4, 4, 1280)
