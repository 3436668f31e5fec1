"""ShuffleNet v2: table 5's sizes, and its unit against NumPy in torchvision's order."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.graph import shapes_only
from models.image.shufflenet_v2 import VARIANTS, ShuffleNetV2, SplitUnit
from models.layers.conv import ConvNorm, DepthwiseNorm

RNG = np.random.default_rng(0)


def by_hand(x: np.ndarray, layer: ConvNorm | DepthwiseNorm, stride: int = 1) -> np.ndarray:
    """A layer of the unit: convolution, batch norm, ReLU unless it is the 3x3."""
    kernel = convert_to_numpy(layer.conv.kernel)
    if isinstance(layer, DepthwiseNorm):
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::stride, ::stride]
        x = np.einsum("bhwcij,ijc->bhwc", x, kernel[..., 0])
    else:
        x = x @ kernel[0, 0]
    norm = layer.norm
    scale = convert_to_numpy(norm.gamma) / np.sqrt(convert_to_numpy(norm.moving_variance) + 1e-5)
    x = scale * (x - convert_to_numpy(norm.moving_mean)) + convert_to_numpy(norm.beta)
    return x if isinstance(layer, DepthwiseNorm) else np.maximum(x, 0)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_is_figure_3s(stride: int) -> None:
    x = RNG.normal(size=(2, 7, 6, 12)).astype(np.float32)
    unit = SplitUnit(12 * stride, stride)
    unit(x)
    for weight in unit.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        values = RNG.uniform(0.5, 1.5, weight.shape) if positive else RNG.normal(size=weight.shape)
        weight.assign(values)

    one, two = np.split(x, 2, axis=-1) if stride == 1 else (x, x)
    if stride == 2:
        depthwise, last = unit.branch1
        one = by_hand(by_hand(one, depthwise, stride), last)
    first, depthwise, last = unit.branch2
    two = by_hand(by_hand(by_hand(two, first), depthwise, stride), last)
    # One of each branch in turn: the shuffle of two groups.
    wanted = np.stack([one, two], axis=-1).reshape(*one.shape[:-1], -1)

    y = convert_to_numpy(unit(x, training=False))
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_of_the_table(name: str) -> None:
    filters, last = VARIANTS[name]["filters"], VARIANTS[name]["last"]
    with shapes_only():
        network = ShuffleNetV2(10, filters, last)
        x = network.stem(keras.KerasTensor((1, 224, 224, 3)))
        assert x.shape == (1, 112, 112, 24)
        x = network.pool(network.pad(x))
        shapes = [x.shape]
        for unit in network.stages:
            x = unit(x)
            shapes.append(x.shape)
        assert network.last_conv(x).shape == (1, 7, 7, last)
    wanted = [(1, 56, 56, 24)]
    for size, width, count in zip((28, 14, 7), filters, (4, 8, 4), strict=True):
        wanted += count * [(1, size, size, width)]
    assert shapes == wanted


def test_zeros_around_the_pool_are_below_every_map() -> None:
    """Torch pads a pool by -inf; behind a ReLU zeros do the same."""
    network = ShuffleNetV2(10, (8, 16), 16, (2, 2))
    x = RNG.normal(size=(2, 32, 32, 3)).astype(np.float32)
    maps = convert_to_numpy(network.stem(x))
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    parts = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    np.testing.assert_array_equal(network.pool(network.pad(maps)), parts.max(axis=(-1, -2)))


def test_small_images() -> None:
    network = ShuffleNetV2(10, include_top=False, pooling=None, small_images=True)
    assert network.call(keras.KerasTensor((1, 32, 32, 3))).shape == (1, 4, 4, 1024)
