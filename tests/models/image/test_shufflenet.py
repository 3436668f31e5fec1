"""The shuffle's permutation, and the units of both ShuffleNets."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.shufflenet_v1 import ShuffleNetV1, ShuffleUnit
from models.image.shufflenet_v2 import SplitUnit
from models.layers.grouped import GroupedConv2D
from models.layers.shuffle import ChannelShuffle

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("groups", "channels"), [(2, 6), (3, 12), (4, 8), (1, 5)])
def test_the_shuffle_is_the_papers(groups: int, channels: int) -> None:
    x = np.broadcast_to(np.arange(channels, dtype=np.float32), (1, 2, 3, channels))
    y = convert_to_numpy(ChannelShuffle(groups)(x))[0, 0, 0].astype(int)
    width = channels // groups
    for i in range(groups):
        for j in range(width):
            assert y[j * groups + i] == i * width + j
    back = ChannelShuffle(width)(ChannelShuffle(groups)(x))
    np.testing.assert_array_equal(back, x)


def test_the_shuffle_comes_before_the_depthwise_convolution() -> None:
    """Input channels of group 0 alone must reach outputs of both groups."""
    unit = ShuffleUnit(16, added=16, groups=2, first_groups=2)
    x = np.zeros((1, 5, 5, 16), np.float32)
    quiet = convert_to_numpy(unit(x))
    x[..., :8] = np.abs(RNG.standard_normal((1, 5, 5, 8)))
    residual = convert_to_numpy(unit(x)) - quiet
    assert np.abs(residual[..., 8:]).max() > 0


def test_no_relu_after_the_depthwise_convolution() -> None:
    assert ShuffleUnit(16, added=16).depthwise.act.activation is keras.activations.linear
    units = [SplitUnit(8), SplitUnit(8, stride=2)]
    depthwise = [units[0].branch2[1], units[1].branch2[1], units[1].branch1[0]]
    assert {layer.act.activation for layer in depthwise} == {keras.activations.linear}


def test_at_stride_2_the_pooled_input_stands_beside_what_is_new() -> None:
    x = np.abs(RNG.standard_normal((2, 8, 8, 6))).astype(np.float32)
    y = ShuffleUnit(16, added=10, stride=2)(x)
    assert y.shape == (2, 4, 4, 16)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    np.testing.assert_allclose(y[:, 1, 1, :6], padded[:, 2:5, 2:5].mean(axis=(1, 2)), atol=1e-5)


def test_only_the_first_1x1_of_all_is_not_grouped() -> None:
    network = ShuffleNetV1(10, groups=4, filters=32, units=(2, 2))
    network.call(keras.KerasTensor((1, 64, 64, 3)))
    grouped = [isinstance(unit.conv1.conv, GroupedConv2D) for unit in network.stages]
    assert grouped == [False, True, True, True]
    assert all(isinstance(unit.conv2.conv, GroupedConv2D) for unit in network.stages)


def test_groups_that_the_paper_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"one of \[1, 2, 3, 4, 8\], not 5"):
        ShuffleNetV1(10, groups=5)


def test_half_of_the_channels_pass_a_split_unit() -> None:
    x = RNG.standard_normal((2, 5, 5, 8)).astype(np.float32)
    y = convert_to_numpy(SplitUnit(8)(x))
    np.testing.assert_array_equal(y[..., ::2], x[..., :4])  # shuffled: every second one
