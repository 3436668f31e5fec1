"""Inception v3: table 1's shapes and counts; equal to keras.applications with its weights."""

import re

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.inception_v3 import Inception6, Inception7, InceptionV3, Reduction

TINY = {
    "pool_filters": (32,),
    "inner_filters": (128,),
    "expanded": 1,
    "width_multiplier": 1 / 32,
}


def built(size: int = 299, **options) -> InceptionV3:
    network = InceptionV3(**{"num_classes": 1000, **options})
    network(keras.KerasTensor((1, size, size, 3)))
    return network


def test_counts() -> None:
    network = built()
    trained = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    assert network.count_params() == 23_851_784
    # A convolution has beta, a mean and a variance for each filter, and no gamma.
    filters = sum(w.shape[0] for w in network.weights if w.name == "beta")
    assert trained == 23_851_784 - 2 * filters == 23_817_352
    assert not any(w.name == "gamma" for w in network.weights)


def test_sizes_of_the_table() -> None:
    network = InceptionV3(10)
    x = keras.KerasTensor((1, 299, 299, 3))
    shapes = []
    for layer in (*network.stem, *network.mixed):
        x = layer(x)
        shapes.append(x.shape[1::2])
    # fmt: off
    assert shapes == [
        (149, 32), (147, 32), (147, 64), (73, 64), (73, 80), (71, 192), (35, 192),
        (35, 256), (35, 288), (35, 288), (17, 768), (17, 768), (17, 768), (17, 768), (17, 768),
        (8, 1280), (8, 2048), (8, 2048),
    ]
    # fmt: on


def test_asymmetric_kernels() -> None:
    """Figure 6: 1x7 then 7x1; reversed in the longer branch. Figure 7: beside one another."""

    def kernels(convs) -> list[tuple[int, int]]:
        return [conv.conv.kernel_size for conv in convs]

    six, seven = Inception6(128), Inception7()
    assert kernels(six.conv7x7) == [(1, 1), (1, 7), (7, 1)]
    assert kernels(six.twice7x7) == [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]
    assert kernels(seven.fork3x3) == kernels(seven.fork_twice3x3) == [(1, 3), (3, 1)]


def test_a_reduction_keeps_the_input_beside_its_convolutions() -> None:
    x = np.random.default_rng(0).standard_normal((1, 7, 7, 5)).astype(np.float32)
    y = convert_to_numpy(Reduction(17, 1 / 32)(x))
    assert y.shape == (1, 3, 3, 12 + 3 + 5)
    pooled = convert_to_numpy(keras.layers.MaxPooling2D(3, 2)(x))
    np.testing.assert_array_equal(y[..., -5:], pooled)


def in_order_of_making(application: keras.Model, kind: str) -> list:
    def number(layer) -> int:
        return int(re.search(r"\d*$", layer.name).group() or 0)

    return [w for x in sorted(application.layers, key=number) for w in x.weights if w.name == kind]


def test_equal_to_keras_applications() -> None:
    shape = (2, 96, 107, 3)
    theirs = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=shape[1:], pooling="avg"
    )
    ours = InceptionV3(1000, include_top=False)
    ours(keras.KerasTensor(shape))
    assert {w.name for w in ours.weights} == {w.name for w in theirs.weights}
    random = np.random.default_rng(0)
    for kind in sorted({w.name for w in theirs.weights}):
        mine = [w for w in ours.weights if w.name == kind]
        for weight, other in zip(mine, in_order_of_making(theirs, kind), strict=True):
            value = convert_to_numpy(other)
            if kind != "kernel":
                value = random.uniform(0.5, 1.5, value.shape)
            other.assign(value)
            weight.assign(value)
    x = random.standard_normal(shape).astype(np.float32)
    y = convert_to_numpy(theirs(x, training=False))
    np.testing.assert_allclose(
        convert_to_numpy(ours(x, training=False)), y, atol=1e-5 * np.abs(y).max()
    )
    assert y.std() > 1e-3


def test_small_images() -> None:
    network = built(32, num_classes=10, **TINY, small_images=True)
    x = np.zeros((1, 32, 32, 3), np.float32)
    assert network(x).shape == (1, 10)
    sides = []
    for layer in (*network.stem, *network.mixed):
        x = layer(x)
        sides.append(x.shape[1])
    assert sides == [32, 32, 32, 15, 15, 15, 15, 7, 7, 3, 3]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"pooling": "max"}, (1, 5)),
        ({"pooling": None}, (1, 5)),
        ({"include_top": False}, (1, 64)),
        ({"include_top": False, "pooling": None}, (1, 1, 1, 64)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    assert InceptionV3(5, **TINY, **options)(np.zeros((1, 75, 75, 3), np.float32)).shape == shape


def test_round_trip(tmp_path) -> None:
    network = built(75, num_classes=5, **TINY)
    config = network.get_config()
    assert type(network).from_config(config).get_config() == config
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).standard_normal((2, 75, 75, 3)).astype(np.float32)
    np.testing.assert_allclose(convert_to_numpy(again(x)), convert_to_numpy(network(x)), atol=1e-6)
