"""ShuffleNet's unit against NumPy, and its widths against the authors' own figures."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.cost import cost
from models.graph import shapes_only
from models.image.shufflenet_v1 import FILTERS, ShuffleNetV1, ShuffleUnit
from models.layers.grouped import GroupedConv2D

RNG = np.random.default_rng(0)
SHAPE = (1, 224, 224, 3)


def randomised(layer: keras.layers.Layer, x: np.ndarray) -> keras.layers.Layer:
    layer(x)
    for weight in layer.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        values = RNG.uniform(0.5, 1.5, weight.shape) if positive else RNG.normal(size=weight.shape)
        weight.assign(values)
    return layer


def normed(x: np.ndarray, norm: keras.layers.BatchNormalization) -> np.ndarray:
    gamma, beta, mean, variance = (
        convert_to_numpy(w).astype(np.float64)
        for w in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


def pointwise(x: np.ndarray, conv: keras.layers.Conv2D, groups: int) -> np.ndarray:
    """Each group of channels by its own filters."""
    kernel = convert_to_numpy(conv.kernel)[0, 0]
    parts = zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True)
    return np.concatenate([part @ filters for part, filters in parts], axis=-1)


def windows(x: np.ndarray, stride: int) -> np.ndarray:
    """Of 3x3, one pixel of zeros around.  [B, H, W, C] -> [B, H/s, W/s, C, 3, 3]"""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::stride, ::stride]


def unit_by_hand(x: np.ndarray, unit: ShuffleUnit, groups: int, stride: int) -> np.ndarray:
    """Figure 2b and 2c."""
    y = np.maximum(normed(pointwise(x, unit.conv1.conv, groups), unit.conv1.norm), 0)
    *positions, channels = y.shape
    y = y.reshape(*positions, groups, channels // groups).swapaxes(-1, -2)
    y = y.reshape(*positions, channels)
    kernel = convert_to_numpy(unit.depthwise.conv.kernel)[..., 0]
    y = normed(np.einsum("bhwcij,ijc->bhwc", windows(y, stride), kernel), unit.depthwise.norm)
    y = normed(pointwise(y, unit.conv2.conv, groups), unit.conv2.norm)
    if stride == 1:
        return np.maximum(x + y, 0)
    pooled = windows(x, stride).mean(axis=(-1, -2))
    return np.maximum(np.concatenate([pooled, y], axis=-1), 0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_unit_is_figure_2s(groups: int, stride: int) -> None:
    """Of its shuffle, too: another permutation, or its place behind the 3x3, gives other maps."""
    x = RNG.normal(size=(2, 7, 6, 24)).astype(np.float32)
    filters = 24 if stride == 1 else 48
    unit = ShuffleUnit(filters, 24, stride, groups=groups, first_groups=groups)
    y = convert_to_numpy(randomised(unit, x)(x, training=False))
    wanted = unit_by_hand(x.astype(np.float64), unit, groups, stride)
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, atol=1e-5 * np.abs(wanted).max())


# The authors' README, github.com/megvii-model/ShuffleNet-Series, in millions: multiply-adds and
# parameters, theirs without the classifier's 1,000 biases.
# fmt: off
AUTHORS = {
    (3, 0.5): (38, 0.7), (3, 1.0): (138, 1.9), (3, 1.5): (292, 3.4), (3, 2.0): (524, 5.4),
    (8, 0.5): (40, 1.0), (8, 1.0): (138, 2.4), (8, 1.5): (290, 4.3), (8, 2.0): (522, 6.5),
}
# fmt: on


@pytest.mark.parametrize(("groups", "width"), AUTHORS)
def test_widths_cost_what_the_authors_say(groups: int, width: float) -> None:
    multiply_adds, parameters = AUTHORS[groups, width]
    with shapes_only():
        found = cost(ShuffleNetV1(1000, groups=groups, width_multiplier=width), SHAPE[1:])
    assert round(found.multiply_adds / 1e6, 1) == pytest.approx(multiply_adds, abs=0.5)
    assert (found.trainable - 1000) / 1e6 == pytest.approx(parameters, abs=0.06)


@pytest.mark.parametrize("width", [0.1, 0.25, 0.7])
@pytest.mark.parametrize("groups", FILTERS)
def test_any_width_parts_in_groups(groups: int, width: float) -> None:
    with shapes_only():
        network = ShuffleNetV1(10, groups=groups, width_multiplier=width, units=(2, 2, 2))
        assert network.call(keras.KerasTensor((1, 64, 64, 3))).shape == (1, 10)


@pytest.mark.parametrize("groups", FILTERS)
def test_sizes_of_the_table(groups: int) -> None:
    with shapes_only():
        network = ShuffleNetV1(10, groups=groups)
        x = network.stem(keras.KerasTensor(SHAPE))
        assert x.shape == (1, 112, 112, 24)
        x = network.pool(network.pad(x))
        shapes = [x.shape]
        for unit in network.stages:
            x = unit(x)
            shapes.append(x.shape)
    wanted = [(1, 56, 56, 24)]
    for stage, count in enumerate((4, 8, 4)):
        wanted += count * [(1, 28 // 2**stage, 28 // 2**stage, FILTERS[groups] * 2**stage)]
    assert shapes == wanted


def test_small_images() -> None:
    network = ShuffleNetV1(10, include_top=False, pooling=None, small_images=True)
    assert network.call(keras.KerasTensor((1, 32, 32, 3))).shape == (1, 4, 4, 960)


def test_only_the_first_1x1_of_all_is_not_grouped() -> None:
    network = ShuffleNetV1(10, groups=4, filters=32, units=(2, 2))
    network.call(keras.KerasTensor((1, 64, 64, 3)))
    grouped = [isinstance(unit.conv1.conv, GroupedConv2D) for unit in network.stages]
    assert grouped == [False, True, True, True]
    assert all(isinstance(unit.conv2.conv, GroupedConv2D) for unit in network.stages)


def test_groups_that_the_paper_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"one of \[1, 2, 3, 4, 8\], not 5"):
        ShuffleNetV1(10, groups=5)
