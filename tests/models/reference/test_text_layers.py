"""The layers for texts against the NumPy definition, as test_our_layers.py."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from models.layers.causal import CausalResidual
from models.layers.embedding import TokenEmbedding
from models.layers.gating import GatedConv1D
from models.layers.time_pooling import GlobalTimePooling, KMaxPooling, TimeMaxPool
from models.layers.weight_norm import WeightNormConv1D
from models.reference.activations import relu, sigmoid, tanh
from models.reference.convolution import convolve
from models.reference.pooling import global_max, global_mean, max_pool
from tests.models.reference.checks import assert_close, assert_same, random
from tests.models.reference.drawn import few

lengths, kernels, dilations = st.integers(1, 8), st.integers(1, 3), st.integers(1, 3)


def weight_normed(x, v, bias, g, kernel_size: int, dilation: int, padding: str):
    """Filters g v / |v|; of dw, the part along v goes to g, and the rest to v."""
    length = np.sqrt((v**2).sum(axis=(0, 1)))
    zeros = (dilation * (kernel_size - 1), 0) if padding == "causal" else padding
    y, convolve_back = convolve(x, g * v / length, bias, padding=zeros, dilation=dilation)

    def back(dy):
        dx, dw, dbias = convolve_back(dy)
        dg = (dw * v).sum(axis=(0, 1)) / length
        return dx, g / length * (dw - v * dg / length), dbias, dg

    return y, back


@few
@given(lengths, kernels, dilations, st.sampled_from(["causal", "same"]))
def test_row_165_weight_normed_conv(length, kernel_size, dilation, padding) -> None:
    options = {"kernel_size": kernel_size, "padding": padding}
    layer = WeightNormConv1D(3, dilation_rate=dilation, dtype="float64", **options)
    reference = partial(weight_normed, dilation=dilation, **options)
    assert_same(layer, reference, random(2, length, 2))


@few
@given(lengths, kernels, dilations, st.sampled_from(["causal", "same"]))
def test_row_097_gated_conv_along_time(length, kernel_size, dilation, padding) -> None:
    options = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding}
    for gate, function in (("glu", lambda a: (a, lambda da: da)), ("gtu", tanh)):

        def reference(x, v, bias, g, function=function):
            both, both_back = weight_normed(x, v, bias, g, **options)
            a, a_back = function(both[..., :3])
            b, b_back = sigmoid(both[..., 3:])
            return a * b, lambda dy: both_back(
                np.concatenate([a_back(dy * b), b_back(dy * a)], axis=-1)
            )

        layer = GatedConv1D(3, gate=gate, dtype="float64", **options)
        assert_same(layer, reference, random(2, length, 2))


@few
@given(lengths, kernels, dilations)
def test_row_134_causal_residual(length, kernel_size, dilation) -> None:
    options = {"kernel_size": kernel_size, "dilation": dilation, "padding": "causal"}

    def reference(x, *weights):
        a, first_back = weight_normed(x, *weights[:3], **options)
        b, relu_back = relu(a)
        c, second_back = weight_normed(b, *weights[3:], **options)
        d, relu2_back = relu(c)
        y, sum_back = relu(x + d)

        def back(dy):
            dsum = sum_back(dy)
            db, *second = second_back(relu2_back(dsum))
            dx, *first = first_back(relu_back(db))
            return (dsum + dx, *first, *second)

        return y, back

    layer = CausalResidual(2, kernel_size, dilation, dtype="float64")
    assert_same(layer, reference, random(2, length, 2))


@few
@given(lengths, st.integers(1, 4), st.integers(1, 3))
def test_row_151_pooling_from_the_start_of_a_text(length, pool_size, stride) -> None:
    padding = (0, pool_size - 1)
    reference = partial(max_pool, pool_size=pool_size, stride=stride, padding=padding)
    layer = TimeMaxPool(pool_size, stride, dtype="float64")
    assert_same(layer, reference, random(2, length, 3))


def last(x):
    def back(dy):
        dx = np.zeros_like(x)
        dx[:, -1] = dy
        return dx

    return x[:, -1], back


@pytest.mark.parametrize(
    ("pooling", "reference"), [("avg", global_mean), ("max", global_max), ("last", last)]
)
def test_row_154_global_pooling_of_a_text(pooling, reference) -> None:
    assert_same(GlobalTimePooling(pooling, dtype="float64"), reference, random(2, 5, 3))


@few
@given(lengths, st.integers(1, 5))
def test_row_154_k_largest(length, k) -> None:
    def reference(x):
        places = np.sort(np.argsort(-x, axis=1, kind="stable")[:, :k], axis=1)
        missing = ((0, 0), (0, max(0, k - length)), (0, 0))
        y = np.pad(np.take_along_axis(x, places, axis=1), missing)

        def back(dy):
            dx = np.zeros_like(x)
            np.put_along_axis(dx, places, dy[:, : places.shape[1]], axis=1)
            return dx

        return y, back

    assert_same(KMaxPooling(k, dtype="float64"), reference, random(2, length, 3))


def test_row_165_embedding() -> None:
    """Rows of a table; a row's gradient is the sum over its places, and padding's is none."""
    layer, tokens = TokenEmbedding(5, 3, dtype="float64"), np.array([[4, 2, 2, 0], [1, 4, 0, 0]])
    layer.build(tokens.shape)
    table, dy = random(5, 3), random(2, 4, 3, seed=1)
    layer.embeddings.assign(table)
    with tf.GradientTape() as tape:
        y = layer(tokens)
        loss = tf.reduce_sum(y * dy)
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value))
    wanted, dtable = table[tokens], np.zeros_like(table)
    wanted[tokens == 0] = 0
    np.add.at(dtable, tokens, dy)
    dtable[0] = 0
    assert_close(y, wanted, 1e-12)
    assert_close(gradient, dtable, 1e-12)
