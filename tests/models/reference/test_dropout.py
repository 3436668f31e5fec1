"""Dropout as a mask, as an expectation, and as an average of networks."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from models.reference.activations import softmax
from models.reference.dropout import dropout
from tests.models.reference.checks import random


def test_row_032_what_is_kept_makes_up_for_what_is_dropped() -> None:
    x = 1 + np.abs(random(400, 500))
    y, _ = dropout(x, 0.3, np.random.default_rng(0))
    dropped = y == 0
    assert dropped.mean() == pytest.approx(0.3, abs=0.005)  # of 200,000: five deviations
    np.testing.assert_allclose(y[~dropped], x[~dropped] / 0.7)
    assert y.mean() == pytest.approx(x.mean(), rel=0.01)
    np.testing.assert_array_equal(dropout(x, 0.0, np.random.default_rng(0))[0], x)


def test_row_033_the_gradient_goes_through_the_same_mask() -> None:
    x, dy = random(6, 5), random(6, 5, seed=1)
    y, back = dropout(x, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(back(dy), np.where(y == 0, 0, dy * 2))


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_row_032_keras_rate_is_what_is_dropped(rate: float) -> None:
    layer = layers.Dropout(rate, seed=0)
    x = tf.constant(1 + np.abs(random(300, 400)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    kept = np.asarray(y) != 0
    assert 1 - kept.mean() == pytest.approx(rate, abs=0.01)
    scale = kept / (1 - rate)
    np.testing.assert_allclose(y, x * scale, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(y, x), scale, rtol=1e-6)
    np.testing.assert_array_equal(layer(x, training=False), x)


@pytest.mark.parametrize(
    ("layer", "shape", "one"),
    [
        (layers.SpatialDropout2D(0.5, seed=0), (40, 3, 4, 10), np.s_[:, :1, :1]),
        (layers.SpatialDropout1D(0.5, seed=0), (40, 5, 10), np.s_[:, :1]),
        # Stochastic depth: a residual branch is there for an example, or it is not.
        (
            layers.Dropout(0.5, noise_shape=(None, 1, 1, 1), seed=0),
            (400, 3, 4, 2),
            np.s_[:, :1, :1, :1],
        ),
    ],
)
def test_row_032_whole_maps_and_whole_branches(layer, shape, one) -> None:
    x = np.ones(shape, np.float32)
    y = np.asarray(layer(x, training=True))
    np.testing.assert_array_equal(y, np.broadcast_to(y[one], shape))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == 0).mean() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_row_115_scaling_the_states_or_the_weights() -> None:
    """Keeping a half: states times 2 while training, or weights times 1/2 after it."""
    x, weights = random(5, 4), random(4, 3, seed=1)
    mask = np.random.default_rng(0).random(x.shape) >= 0.5
    inverted = (x * mask / 0.5) @ weights
    plain = (x * mask) @ weights  # what the paper trains, and then halves the weights of
    np.testing.assert_allclose(inverted / 2, plain)
    np.testing.assert_allclose(x @ weights / 2, (x / 2) @ weights)


def test_row_113_for_a_linear_layer_scaled_weights_are_the_expectation() -> None:
    """Exactly, over all 16 masks of four inputs, each as likely as its keep probability says."""
    x, weights, keep = random(4), random(4, 3, seed=1), 0.8
    mean = sum(
        np.prod(np.where(mask, keep, 1 - keep)) * ((x * mask) @ weights)
        for mask in product((0, 1), repeat=4)
    )
    np.testing.assert_allclose(mean, x @ (keep * weights))


def test_row_114_for_a_softmax_they_are_the_geometric_mean_of_all_thinned_networks() -> None:
    """Exactly, renormalised. Source: Warde-Farley 2014, section 2, arXiv 1312.6197."""
    x, weights, bias = random(6), 3 * random(6, 4, seed=1), random(4, seed=2)
    thinned = [softmax((x * mask) @ weights + bias)[0] for mask in product((0, 1), repeat=6)]
    geometric = np.exp(np.mean(np.log(thinned), axis=0))
    scaled, _ = softmax(x @ (weights / 2) + bias)
    np.testing.assert_allclose(geometric / geometric.sum(), scaled)
    arithmetic = np.mean(thinned, axis=0)
    assert np.abs(arithmetic - scaled).max() > 0.01  # which dropout only comes close to
