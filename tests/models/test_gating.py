"""Gates against their definition, and weight normalisation against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy

from models.layers.causal import CausalResidual
from models.layers.gating import GatedConv1D, gated
from models.layers.time_pooling import GlobalTimePooling
from models.layers.weight_norm import WeightNormConv1D

RNG = np.random.default_rng(0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def convolved(layer: WeightNormConv1D, x: np.ndarray, filters: slice) -> np.ndarray:
    """Some of its filters as a plain causal convolution, by a sum over taps."""
    kernel = convert_to_numpy(layer.kernel).astype(np.float64)
    lengths = np.sqrt((kernel**2).sum(axis=(0, 1)))
    kernel = (kernel / lengths * convert_to_numpy(layer.length))[..., filters]
    width, dilation = len(kernel), layer.dilation_rate[0]
    padded = np.pad(x, ((0, 0), ((width - 1) * dilation, 0), (0, 0)))
    taps = (padded[:, dilation * w : dilation * w + x.shape[1]] @ kernel[w] for w in range(width))
    return sum(taps) + convert_to_numpy(layer.bias)[filters]


@pytest.mark.parametrize("gate", ["glu", "gtu"])
def test_row_097_a_gated_convolution_is_two_of_them_and_one_is_the_gate(gate) -> None:
    layer = GatedConv1D(5, 3, gate=gate, dilation=2)
    x = RNG.normal(size=(2, 9, 4)).astype(np.float32)
    layer(x)
    layer.conv.bias.assign(RNG.normal(size=10))
    a, b = (convolved(layer.conv, x, half) for half in (slice(5), slice(5, None)))
    wanted = (a if gate == "glu" else np.tanh(a)) * sigmoid(b)
    np.testing.assert_allclose(layer(x), wanted, atol=1e-5)


def test_row_097_a_glu_has_a_linear_way_for_gradients() -> None:
    """d(A * sigmoid(B)) / dA = sigmoid(B), however large A is; a GTU's vanishes there."""
    x = tf.Variable([[3.0, 60.0, -1.0, 0.5]])
    slopes = {}
    for gate in ("glu", "gtu"):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(gated(x, gate))
        slopes[gate] = tape.gradient(y, x).numpy()[0, :2]
    np.testing.assert_allclose(slopes["glu"], sigmoid(np.array([-1.0, 0.5])), rtol=1e-6)
    assert slopes["gtu"][1] == 0


def test_masks_go_through_layers_along_time() -> None:
    """Attached by a Keras layer: what stands behind the text might as well not be there."""
    inputs = keras.Input((None, 3))
    x = GatedConv1D(4, 3, padding="same")(keras.layers.Masking()(inputs))
    outputs = GlobalTimePooling("avg")(CausalResidual(5, 2)(GatedConv1D(4, 3, padding="same")(x)))
    model = keras.Model(inputs, outputs)
    text = RNG.normal(size=(1, 6, 3)).astype(np.float32)
    model.layers[2].conv.bias.assign(np.ones(8))  # or what is behind it would be 0 all the same
    padded = np.pad(text, ((0, 0), (0, 4), (0, 0)))
    np.testing.assert_allclose(model(padded), model(text), atol=1e-6)


def test_another_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="'glu' or 'gtu'"):
        gated(np.ones((1, 4), np.float32), "lstm")


def test_the_length_of_a_filter_is_its_own_weight() -> None:
    layer = WeightNormConv1D(4, 3, gain=1.5, padding="causal")
    x = RNG.normal(size=(2, 7, 3)).astype(np.float32)
    y = convert_to_numpy(layer(x))
    np.testing.assert_allclose(y, convolved(layer, x, slice(None)), atol=1e-5)
    layer.kernel.assign(convert_to_numpy(layer.kernel) * 7)
    np.testing.assert_allclose(layer(x), y, atol=1e-5)
    layer.length.assign(np.full(4, 3.0))
    np.testing.assert_allclose(layer(x), 2 * y, atol=1e-5)
