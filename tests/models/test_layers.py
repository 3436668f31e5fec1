"""What the shared layers promise, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.ops import convert_to_numpy

from models.image.resnet_cifar import BasicBlock, IdentityShortcut
from models.layers.conv import ConvNorm
from models.layers.frequency import FrequencyConv
from models.layers.grouped import GroupedConv2D
from models.layers.pointwise import PointwiseConv2D

RNG = np.random.default_rng(0)


def test_frequency_conv_is_a_sum_over_its_window() -> None:
    layer = FrequencyConv(3, context=5, bands=4, context_stride=2)
    x = RNG.standard_normal((2, 9, 10, 2)).astype(np.float32)
    y = np.array(layer(x))
    kernel = convert_to_numpy(layer.kernels[0])
    padded = np.pad(x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    assert y.shape == (2, 5, 7, 3) == layer.compute_output_shape(x.shape)
    for frame in range(5):
        for band in range(7):
            window = padded[:, 2 * frame : 2 * frame + 5, band : band + 4]
            wanted = np.einsum("btfc,tfck->bk", window, kernel)
            np.testing.assert_allclose(y[:, frame, band], wanted, atol=1e-5)


def test_frequency_conv_moves_with_its_input_along_frequency() -> None:
    layer = FrequencyConv(3, context=5, bands=4)
    x = np.zeros((1, 9, 20, 1), np.float32)
    x[:, :, 4:12] = RNG.standard_normal((1, 9, 8, 1))
    y, moved = np.array(layer(x)), np.array(layer(np.roll(x, 3, axis=2)))
    np.testing.assert_allclose(moved[:, :, 3:], y[:, :, :-3], atol=1e-5)


def test_frequency_conv_needs_as_many_bands_as_its_filters_cover() -> None:
    with pytest.raises(ValueError, match="covers 8 mel bands"):
        FrequencyConv(3, context=5, bands=8)(np.zeros((1, 9, 7, 1), np.float32))


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_conv_is_the_convolutions_of_its_groups(groups: int) -> None:
    layer = GroupedConv2D(8, 3, groups=groups, strides=2, padding="same", use_bias=False)
    x = tf.constant(RNG.standard_normal((2, 7, 6, 8)).astype(np.float32))
    layer.build(x.shape)
    kernel = layer.kernel.value
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = layer(x)
        parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        apart = tf.concat([tf.nn.conv2d(a, k, 2, "SAME") for a, k in parts], -1)
        losses = tf.reduce_sum(ours**3), tf.reduce_sum(apart**3)
    np.testing.assert_allclose(ours, apart, atol=1e-5)
    for source in (x, kernel):
        first, second = (tape.gradient(loss, source) for loss in losses)
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-3)


def test_torch_padding_puts_the_same_zeros_on_both_sides() -> None:
    x = RNG.standard_normal((2, 8, 8, 2)).astype(np.float32)
    layer = ConvNorm(3, 3, stride=2, activation=None, padding="torch")
    y = layer(x)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    wanted = tf.nn.conv2d(padded, layer.conv.kernel.value, 2, "VALID") / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    same = ConvNorm(3, 3, stride=2, activation=None)
    same.build(x.shape)
    same.conv.kernel.assign(layer.conv.kernel)
    assert np.abs(np.array(same(x)) - wanted).max() > 0.1


@pytest.mark.parametrize("channels", [3, 16])
def test_a_1x1_convolution_that_strides_is_the_one_of_tensorflow(channels: int) -> None:
    x = RNG.standard_normal((2, 9, 8, channels)).astype(np.float32)
    layer = PointwiseConv2D(4, 1, strides=2, use_bias=False)
    np.testing.assert_allclose(layer(x), tf.nn.conv2d(x, layer.kernel.value, 2, "VALID"), atol=1e-5)


def test_a_1x1_convolution_of_few_channels_does_not_stride() -> None:
    """Its gradient would corrupt memory; with whole vectors of channels it doesn't."""
    for channels, sampled in ((3, True), (16, False)):
        layer = PointwiseConv2D(4, 1, strides=2)
        call = tf.function(layer).get_concrete_function(tf.TensorSpec((1, 8, 8, channels)))
        (conv,) = (op for op in call.graph.get_operations() if op.type == "Conv2D")
        assert (conv.get_attr("strides")[1] == 1) == sampled


def test_a_residual_branch_may_start_at_zero() -> None:
    x = RNG.standard_normal((2, 4, 4, 2)).astype(np.float32)
    assert not np.array(ConvNorm(3, 3, zero_scale=True)(x)).any()


def test_option_a_subsamples_and_pads_channels_on_both_sides() -> None:
    x = RNG.standard_normal((2, 4, 4, 2)).astype(np.float32)
    y = np.array(IdentityShortcut(6, stride=2)(x))
    np.testing.assert_array_equal(y[..., 2:4], x[:, ::2, ::2])
    assert not y[..., :2].any()
    assert not y[..., 4:].any()


def test_a_residual_block_without_a_residual_is_relu() -> None:
    block = BasicBlock(4)
    x = RNG.standard_normal((2, 6, 6, 4)).astype(np.float32)
    block(x)
    block.conv2.norm.gamma.assign(np.zeros(4))
    np.testing.assert_allclose(block(x), np.maximum(x, 0), atol=1e-6)


def test_batch_norm_keeps_the_biased_variance_of_each_batch() -> None:
    """Keras 3 averages the biased variance; PyTorch and fused TensorFlow the unbiased one."""
    layer = ConvNorm(3, 1)
    x = RNG.standard_normal((4, 5, 5, 2)).astype(np.float32)
    layer.build(x.shape)
    maps = np.array(layer.conv(x))
    layer(x, training=True)
    momentum = layer.norm.momentum
    mean = momentum * 0.0 + (1 - momentum) * maps.mean(axis=(0, 1, 2))
    variance = momentum * 1.0 + (1 - momentum) * maps.var(axis=(0, 1, 2), ddof=0)
    np.testing.assert_allclose(convert_to_numpy(layer.norm.moving_mean), mean, atol=1e-6)
    np.testing.assert_allclose(convert_to_numpy(layer.norm.moving_variance), variance, atol=1e-6)


def test_batch_norm_at_inference_is_a_fixed_affine_map() -> None:
    norm = layers.BatchNormalization()
    x = RNG.standard_normal((8, 3)).astype(np.float32)
    norm.build(x.shape)
    norm.moving_mean.assign([0.5, 0.0, -1.0])
    norm.moving_variance.assign([2.0, 1.0, 0.5])
    wanted = (x - [0.5, 0.0, -1.0]) / np.sqrt(np.array([2.0, 1.0, 0.5]) + norm.epsilon)
    np.testing.assert_allclose(norm(x, training=False), wanted, atol=1e-5)
    assert np.abs(np.array(norm(x, training=True)) - wanted).max() > 0.1
