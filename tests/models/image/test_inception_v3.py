"""Inception v3: table 1's shapes and counts.

That it equals keras.applications: tests/models/weights/test_keras_applications.py.
"""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.graph import shapes_only
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
    with shapes_only():
        network = InceptionV3(1000)
        network.call(keras.KerasTensor((1, 299, 299, 3)))
        total, trained = (
            sum(int(np.prod(w.shape)) for w in weights)
            for weights in (network.weights, network.trainable_weights)
        )
        # A convolution has beta, a mean and a variance for each filter, and no gamma.
        filters = sum(w.shape[0] for w in network.weights if w.name == "beta")
        assert not any(w.name == "gamma" for w in network.weights)
    assert total == 23_851_784
    assert trained == 23_851_784 - 2 * filters == 23_817_352


def test_sizes_of_the_table() -> None:
    with shapes_only():
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
