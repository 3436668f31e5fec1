"""What implementers of ResNet, ResNeXt, SE-ResNet and pre-activation get wrong."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.resnet import ResidualBlock, ResNet
from models.image.resnet_v2 import PreActivationBlock, ResNetV2
from models.layers.grouped import GroupedConv2D
from models.layers.squeeze_excite import SqueezeExcite

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("stride_on", "strides"), [("1x1", [2, 1, 1]), ("3x3", [1, 2, 1])])
def test_where_a_bottleneck_strides(stride_on: str, strides: list[int]) -> None:
    block = ResidualBlock(8, inner=2, stride=2, project=True, stride_on=stride_on)
    x = normal(1, 8, 8, 4)
    assert block(x).shape == (1, 4, 4, 8)
    for conv, stride in zip(block.convs, strides, strict=True):
        height = x.shape[1]
        x = conv(x)
        assert height // x.shape[1] == stride


def test_an_unknown_place_to_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="stride_on must be"):
        ResNet(10, stride_on="5x5")


@pytest.mark.parametrize("inner", [None, 2])
def test_zero_scale_starts_a_block_as_the_identity(inner: int | None) -> None:
    x = normal(2, 6, 6, 4)
    block = ResidualBlock(4, inner=inner, zero_scale=True)
    np.testing.assert_allclose(block(x), np.maximum(x, 0), atol=1e-6)
    plain = ResidualBlock(4, inner=inner)
    assert np.abs(convert_to_numpy(plain(x)) - np.maximum(x, 0)).max() > 0.1


def test_the_stem_samples_as_caffe_and_torch_do() -> None:
    """Output (0, 0) of a 7x7/2 with three zeros before it looks at rows -3 to 3."""
    network = ResNet(2, blocks=(1,), filters=1, bottleneck=False)
    network(np.zeros((1, 32, 32, 3), np.float32))
    conv = network.stem.conv
    kernel = np.zeros(conv.kernel.shape, np.float32)
    kernel[3, 3, 0, 0] = 1.0  # the middle
    conv.kernel.assign(kernel)
    x = normal(1, 32, 32, 3)
    y = conv(network.stem.before(x))
    np.testing.assert_allclose(y[0, :, :, 0], x[0, ::2, ::2, 0], atol=1e-6)


def test_resnext_groups_the_3x3_and_doubles_its_width() -> None:
    network = ResNet(2, blocks=(1, 1), cardinality=32, group_width=4, stride_on="3x3")
    network.call(keras.KerasTensor((1, 64, 64, 3)))
    for block, width in zip(network.stages, (128, 256), strict=True):
        grouped = block.convs[1].conv
        assert isinstance(grouped, GroupedConv2D)
        assert tuple(grouped.kernel.shape) == (3, 3, width // 32, width)


def test_squeeze_excite_gates_each_channel_by_a_number_from_0_to_1() -> None:
    x = normal(3, 5, 4, 6)
    for gate in ("sigmoid", "hard_sigmoid"):
        layer = SqueezeExcite(2, gate)
        y = convert_to_numpy(layer(x))
        ratio = (y / x).reshape(3, -1, 6)
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-3)
        assert ratio.min() >= 0
        assert ratio.max() <= 1


def test_squeeze_excite_is_the_papers_equations() -> None:
    x = normal(2, 5, 4, 6)
    layer = SqueezeExcite(2)
    y = layer(x)
    w1, b1, w2, b2 = (convert_to_numpy(w) for w in layer.weights)
    z = x.mean(axis=(1, 2))  # equation 2
    s = 1 / (1 + np.exp(-(np.maximum(z @ w1[0, 0] + b1, 0) @ w2[0, 0] + b2)))  # equation 3
    np.testing.assert_allclose(y, x * s[:, None, None, :], atol=1e-5)


def test_se_works_before_the_sum() -> None:
    x = normal(2, 6, 6, 4)
    block = ResidualBlock(4, inner=2, reduction=2)
    block(x)
    block.gate.excite.bias.assign(np.full(4, -100.0))  # a closed gate
    np.testing.assert_allclose(block(x), np.maximum(x, 0), atol=1e-6)


def test_the_first_pre_activation_feeds_both_branches() -> None:
    x = normal(2, 6, 6, 8)
    block = PreActivationBlock(2, project=True)
    block(x)
    block.conv3.kernel.assign(np.zeros(block.conv3.kernel.shape))
    active = keras.ops.relu(block.norm(x))
    np.testing.assert_allclose(block(x), block.skip(active), atol=1e-5)


def test_what_passes_a_pre_activation_block_is_untouched() -> None:
    x = normal(2, 6, 6, 8)
    block = PreActivationBlock(2)
    block(x)
    block.conv3.kernel.assign(np.zeros(block.conv3.kernel.shape))
    np.testing.assert_allclose(block(x), x, atol=1e-6)  # negative values too: no ReLU after the sum


def test_a_projection_that_strides_is_the_one_of_tensorflow() -> None:
    """A stage of one block has both at once."""
    x = normal(2, 7, 6, 6)
    block = PreActivationBlock(2, stride=2, project=True)
    block(x)
    assert block.skip.strides == (1, 1)  # its gradient with stride 2 corrupts memory
    block.conv3.kernel.assign(np.zeros(block.conv3.kernel.shape))
    active = keras.ops.relu(block.norm(x))
    wanted = keras.ops.conv(active, block.skip.kernel, strides=2, padding="valid")
    np.testing.assert_allclose(block(x), wanted + block.skip.bias, atol=1e-5)


def test_the_last_block_of_a_stage_strides() -> None:
    network = ResNetV2(2, blocks=(2, 3, 2), filters=2)
    network.call(keras.KerasTensor((1, 64, 64, 3)))
    strides = [2 if block.pool else 1 for block in network.stages]
    assert strides == [1, 2, 1, 1, 2, 1, 1]
