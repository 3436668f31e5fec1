"""Every layer in models/layers against the NumPy definition: values and gradients, in float64."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from keras import layers

import models.layers
from models.layers.block import Block
from models.layers.blur_pool import BlurPool
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.frequency import FrequencyConv
from models.layers.gated_conv import GatedConv2D
from models.layers.global_pooling import AttentionPool, ConcatPool, GeneralizedMeanPool
from models.layers.grouped import GroupedConv2D
from models.layers.head import Head
from models.layers.pca_colour import PCAColour
from models.layers.pointwise import PointwiseConv2D
from models.layers.shuffle import ChannelShuffle
from models.layers.squeeze_excite import SqueezeExcite
from models.reference.activations import hard_sigmoid, hard_swish, relu, sigmoid, softmax, tanh
from models.reference.affine import affine
from models.reference.batch_norm import Statistics, batch_norm, batch_norm_at_inference
from models.reference.convolution import convolve, depthwise
from models.reference.pooling import global_max, global_mean
from tests.models.reference.checks import assert_same, random
from tests.models.reference.drawn import few

EPSILON = 0.1  # of batch norm: a batch may hold one number, whose deviation is 0
# TensorFlow has the gradient of grouped convolutions on CPUs in float32 alone.
PRECISION = {False: ("float64", 1e-10), True: ("float32", 1e-5)}
IDENTITY = Statistics(np.array(0.0), np.array(1.0))  # where running statistics start

sizes = st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(2, 6))
kernels, strides = st.integers(1, 3), st.integers(1, 3)
paddings = st.sampled_from(["same", "valid", "torch"])


def normed(convolution: Callable, activation: Callable, training: bool) -> Callable:
    """convolution(x, kernel) -> y, back(dy) -> dx, dkernel;  then batch norm and activation."""
    norm = batch_norm if training else partial(batch_norm_at_inference, statistics=IDENTITY)

    def layer(x, kernel, gamma, beta):
        a, convolution_back = convolution(x, kernel)
        b, norm_back = norm(a, gamma, beta, epsilon=EPSILON)
        y, activation_back = activation(b)

        def back(dy):
            da, dgamma, dbeta = norm_back(activation_back(dy))
            dx, dkernel, *_ = convolution_back(da)
            return dx, dkernel, dgamma, dbeta

        return y, back

    return layer


def zeros(padding: str, kernel_size: int, stride: int) -> str | int:
    """What "torch" means: half a kernel on both sides."""
    return (kernel_size - 1) // 2 if padding == "torch" else padding


@few
@given(sizes, kernels, strides, paddings, st.integers(1, 2), st.booleans())
def test_row_021_conv_norm(size, kernel, stride, padding, groups, training) -> None:
    assume(kernel <= min(size) or padding == "same")
    assume(min(size[1:]) + 2 * (padding == "torch") >= kernel)
    options = {"stride": stride, "padding": zeros(padding, kernel, stride), "groups": groups}
    dtype, tolerance = PRECISION[groups > 1]
    layer = ConvNorm(4, kernel, stride, "hard_silu", padding, groups, epsilon=EPSILON, dtype=dtype)
    reference = normed(lambda x, k: convolve(x, k, None, **options), hard_swish, training)
    assert_same(layer, reference, random(*size, 4), tolerance, training)


@few
@given(sizes, kernels, strides, paddings, st.booleans())
def test_row_055_depthwise_norm(size, kernel, stride, padding, training) -> None:
    assume(kernel <= min(size[1:]) or padding == "same")
    layer = DepthwiseNorm(kernel, stride, padding=padding, epsilon=EPSILON, dtype="float64")
    convolution = partial(depthwise, stride=stride, padding=zeros(padding, kernel, stride))
    reference = normed(convolution, relu, training)
    assert_same(layer, reference, random(*size, 3), training=training)


@few
@given(sizes, kernels, strides, st.sampled_from(["same", "valid"]), st.integers(1, 3))
def test_row_080_grouped_conv(size, kernel, stride, padding, groups) -> None:
    assume(kernel <= min(size[1:]) or padding == "same")
    options = {"padding": padding, "groups": groups}
    dtype, tolerance = PRECISION[groups > 1]
    layer = GroupedConv2D(2 * groups, kernel, strides=stride, dtype=dtype, **options)
    reference = partial(convolve, stride=stride, **options)
    assert_same(layer, reference, random(*size, 2 * groups), tolerance)


@few
@given(sizes, strides, st.sampled_from([2, 16]))
def test_row_120_pointwise_conv(size, stride, channels) -> None:
    layer = PointwiseConv2D(3, 1, strides=stride, dtype="float64")
    assert_same(layer, partial(convolve, stride=stride), random(*size, channels))


@few
@given(sizes, kernels, kernels, strides, st.integers(1, 2), st.sampled_from(["same", "valid"]))
def test_row_097_gated_conv(size, height, width, stride, dilation, padding) -> None:
    """A * sigmoid(B), with a way through A that nothing squashes: dA is dy * sigmoid(B)."""
    assume(1 in (stride, dilation))
    covered = dilation * (max(height, width) - 1) + 1
    assume(padding == "same" or covered <= min(size[1:]))
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    for gate, function in (("glu", lambda a: (a, lambda da: da)), ("gtu", tanh)):
        layer = GatedConv2D(3, (height, width), gate=gate, dtype="float64", **options)

        def reference(x, kernel, bias, function=function):
            both, both_back = convolve(x, kernel, bias, **options)
            a, a_back = function(both[..., :3])
            gate, gate_back = sigmoid(both[..., 3:])
            return a * gate, lambda dy: both_back(
                np.concatenate([a_back(dy * gate), gate_back(dy * a)], axis=-1)
            )

        assert_same(layer, reference, random(*size, 2))


@few
@given(
    sizes,
    st.tuples(kernels, kernels),
    strides,
    st.integers(1, 2),
    st.sampled_from(["same", "valid"]),
)
def test_row_095_dilated_and_asymmetric_conv_of_keras(
    size, kernel, stride, dilation, padding
) -> None:
    assume(1 in (stride, dilation))
    assume(padding == "same" or dilation * (max(kernel) - 1) < min(size[1:]))
    layer = layers.Conv2D(
        3, kernel, strides=stride, padding=padding, dilation_rate=dilation, dtype="float64"
    )
    reference = partial(convolve, stride=stride, padding=padding, dilation=dilation)
    assert_same(layer, reference, random(*size, 2))


@few
@given(st.integers(3, 9), kernels, strides, st.integers(1, 3), st.sampled_from(["same", "causal"]))
def test_row_165_conv_along_time_of_keras(length, kernel, stride, dilation, padding) -> None:
    assume(1 in (stride, dilation))
    before = (dilation * (kernel - 1), 0)
    options = {"stride": stride, "dilation": dilation}
    options["padding"] = before if padding == "causal" else padding
    layer = layers.Conv1D(
        3, kernel, strides=stride, padding=padding, dilation_rate=dilation, dtype="float64"
    )
    assert_same(layer, partial(convolve, **options), random(2, length, 4))


@few
@given(sizes, kernels, strides, st.sampled_from(["same", "valid"]))
def test_row_148_separable_conv_of_keras(size, kernel, stride, padding) -> None:
    assume(kernel <= min(size[1:]) or padding == "same")
    layer = layers.SeparableConv2D(5, kernel, strides=stride, padding=padding, dtype="float64")

    def reference(x, depth, point, bias):
        a, depth_back = depthwise(x, depth, stride, padding)
        y, point_back = convolve(a, point, bias)

        def back(dy):
            da, dpoint, dbias = point_back(dy)
            return (*depth_back(da), dpoint, dbias)

        return y, back

    assert_same(layer, reference, random(*size, 3))


def test_row_148_weights_of_a_separable_conv() -> None:
    layer = layers.SeparableConv2D(64, 3)
    layer.build((1, 8, 8, 32))
    assert layer.count_params() == 32 * 3**2 + 32 * 64 + 64 == 2_336 + 64


@few
@given(st.integers(1, 7), st.integers(2, 6), st.integers(1, 3), st.integers(1, 2))
def test_row_164_frequency_conv(frames, context, bands, stride) -> None:
    before = (context - 1) // 2
    layer = FrequencyConv(3, context, bands, stride, dtype="float64")

    def reference(x, kernel):
        edges = [(0, 0), (before, context - 1 - before), (0, 0), (0, 0)]
        y, convolve_back = convolve(np.pad(x, edges), kernel, None, (stride, 1))

        def back(dy):
            dx, dkernel, _ = convolve_back(dy)
            return dx[:, before : before + frames], dkernel

        return y, back

    assert_same(layer, reference, random(2, frames, 4, 2))


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_row_079_blur_pool(kernel_size: int, stride: int) -> None:
    """A convolution of each channel alone with a row of Pascal's triangle; borders mirrored."""
    row = {1: [1], 2: [1, 1], 3: [1, 2, 1], 5: [1, 4, 6, 4, 1]}[kernel_size]
    kernel = np.outer(row, row) / np.sum(row) ** 2
    kernel = np.stack([kernel] * 3, axis=-1)[..., np.newaxis]
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    x = random(2, 6, 5, 3)
    rows, columns = (
        np.pad(np.arange(size), (before, after), mode="reflect") for size in x.shape[1:3]
    )

    def reference(x):
        y, depthwise_back = depthwise(x[:, rows][:, :, columns], kernel, stride)

        def back(dy):
            dpadded, _ = depthwise_back(dy)
            dx = np.zeros_like(x)
            for i, j in np.ndindex(*dpadded.shape[1:3]):
                dx[:, rows[i], columns[j]] += dpadded[:, i, j]
            return dx

        return y, back

    assert_same(BlurPool(kernel_size, stride, dtype="float64"), reference, x)


@pytest.mark.parametrize(("groups", "channels"), [(1, 3), (2, 6), (3, 6), (4, 12)])
def test_row_059_channel_shuffle(groups: int, channels: int) -> None:
    order = np.arange(channels).reshape(groups, -1).T.ravel()

    def reference(x):
        return x[..., order], lambda dy: dy[..., np.argsort(order)]

    assert_same(ChannelShuffle(groups, dtype="float64"), reference, random(2, 2, 3, channels))


@pytest.mark.parametrize(
    ("gate", "function"), [("sigmoid", sigmoid), ("hard_sigmoid", hard_sigmoid)]
)
def test_row_070_squeeze_excite(gate: str, function: Callable) -> None:
    def reference(x, w1, b1, w2, b2):
        z, mean_back = global_mean(x)
        a, first_back = affine(z, w1[0, 0], b1)
        h, relu_back = relu(a)
        s, second_back = affine(h, w2[0, 0], b2)
        g, gate_back = function(s)
        wide = g[:, np.newaxis, np.newaxis]

        def back(dy):
            dh, dw2, db2 = second_back(gate_back((dy * x).sum(axis=(1, 2))))
            dz, dw1, db1 = first_back(relu_back(dh))
            return dy * wide + mean_back(dz), dw1[None, None], db1, dw2[None, None], db2

        return x * wide, back

    assert_same(
        SqueezeExcite(2, function.__name__, dtype="float64"), reference, 0.3 * random(2, 3, 4, 5)
    )


@pytest.mark.parametrize(
    ("pooling", "pool"), [("avg", global_mean), ("max", global_max), (None, None)]
)
def test_row_124_head(pooling: str | None, pool: Callable | None) -> None:
    def reference(x, weights, bias):
        e, pool_back = pool(x) if pool else (x, lambda de: de)
        y, affine_back = affine(e, weights, bias)

        def back(dy):
            de, dweights, dbias = affine_back(dy)
            return pool_back(de), dweights, dbias

        return y, back

    assert_same(Head(4, pooling, dtype="float64"), reference, random(3, 2, 3, 5))


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3, 2, 3)])
class TestGlobalPooling:
    def test_row_154_concat(self, shape: tuple[int, ...]) -> None:
        def reference(x):
            (a, mean_back), (b, max_back) = global_mean(x), global_max(x)

            def back(dy):
                return mean_back(dy[:, :3]) + max_back(dy[:, 3:])

            return np.concatenate([a, b], axis=-1), back

        assert_same(ConcatPool(dtype="float64"), reference, random(*shape))

    def test_row_154_generalized_mean(self, shape: tuple[int, ...]) -> None:
        """p-th root of the mean of x^p; below epsilon there is nothing to learn."""
        epsilon = 0.1

        def reference(x, p):
            high = np.maximum(x, epsilon)
            m, mean_back = global_mean(high**p)
            y = m ** (1 / p)

            def back(dy):
                dm = dy * y / (p * m)
                dpower = mean_back(dm)
                dp = np.sum(dpower * high**p * np.log(high)) - np.sum(dy * y * np.log(m)) / p**2
                return dpower * p * high ** (p - 1) * (x > epsilon), dp

            return y, back

        layer = GeneralizedMeanPool(3.0, epsilon, dtype="float64")
        assert_same(layer, reference, random(*shape))

    def test_row_154_attention(self, shape: tuple[int, ...]) -> None:
        def reference(x, v, b, w):
            rows = x.reshape(-1, 3)
            a, hidden_back = affine(rows, v, b)
            h, tanh_back = tanh(a)
            s, score_back = affine(h, w, np.zeros(1))
            p, softmax_back = softmax(s.reshape(2, -1))

            def back(dy):
                dp = np.einsum("bpc,bc->bp", x.reshape(2, -1, 3), dy)
                dh, dw, _ = score_back(softmax_back(dp).reshape(-1, 1))
                drows, dv, db = hidden_back(tanh_back(dh))
                direct = p[..., np.newaxis] * dy[:, np.newaxis]
                return drows.reshape(x.shape) + direct.reshape(x.shape), dv, db, dw

            return np.einsum("bpc,bp->bc", x.reshape(2, -1, 3), p), back

        assert_same(AttentionPool(4, dtype="float64"), reference, random(*shape))


def test_row_001_no_layer_is_left_out() -> None:
    """Each that models/layers has is called in this folder's tests."""
    ours = set()
    for module in pkgutil.iter_modules(models.layers.__path__, "models.layers."):
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(kind, keras.layers.Layer) and kind.__module__ == module.name:
                ours.add(name)
    ours -= {Block.__name__, PCAColour.__name__}  # what others are made of; drawn, see row 112
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert sorted(name for name in ours if f"{name}(" not in tests) == []
