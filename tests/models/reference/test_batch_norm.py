"""Batch norm: both ways back, what is kept between batches, and Keras's layer."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from models.reference.batch_norm import (
    Statistics,
    batch_norm,
    batch_norm_at_inference,
    batch_norm_closed,
    batch_statistics,
    running,
)
from tests.models.reference.checks import assert_gradients, assert_same, random

SHAPES = [(6, 3), (3, 4, 2), (2, 3, 4, 3)]  # of vectors, sequences, maps
WAYS = [batch_norm, batch_norm_closed]


@pytest.mark.parametrize("way", WAYS)
def test_row_027_mean_0_and_deviation_1_before_gamma_and_beta(way) -> None:
    x = 3 + 5 * random(200, 4)
    y, _ = way(x, np.ones(4), np.zeros(4), epsilon=1e-12)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), 1)
    scaled, _ = way(x, np.arange(1.0, 5), np.arange(4.0), epsilon=1e-12)
    np.testing.assert_allclose(scaled.mean(axis=0), np.arange(4), atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), np.arange(1, 5))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_row_039_gradients(way, shape: tuple[int, ...]) -> None:
    channels = shape[-1]
    assert_gradients(way, random(*shape), random(channels, seed=1), random(channels, seed=2))


@pytest.mark.parametrize("shape", SHAPES)
def test_row_028_graph_and_closed_form_agree(shape: tuple[int, ...]) -> None:
    channels = shape[-1]
    arguments = random(*shape), random(channels, seed=1), random(channels, seed=2)
    dy = random(*shape, seed=3)
    results = [(y, *back(dy)) for y, back in (way(*arguments) for way in WAYS)]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_row_028_the_gradient_is_blind_to_shifts_and_scales_of_the_batch() -> None:
    x = random(7, 3)
    _, back = batch_norm(x, np.ones(3), np.zeros(3), epsilon=0.0)
    dx, _, _ = back(random(7, 3, seed=1))
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((dx * x).sum(axis=0), 0, atol=1e-12)


def test_row_029_the_variance_that_normalises_is_the_biased_one() -> None:
    x = random(5, 3)
    np.testing.assert_allclose(batch_statistics(x).variance, x.var(axis=0, ddof=0))
    y, _ = batch_norm(x, np.ones(3), np.zeros(3), epsilon=0.0)
    np.testing.assert_allclose(y * x.std(axis=0, ddof=0) + x.mean(axis=0), x)


def test_row_038_the_spatial_form_is_that_of_rows() -> None:
    x, gamma, beta = random(2, 3, 4, 5), random(5, seed=1), random(5, seed=2)
    y, _ = batch_norm(x, gamma, beta)
    rows, _ = batch_norm(x.reshape(24, 5), gamma, beta)
    np.testing.assert_allclose(y, rows.reshape(x.shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [True, False])
def test_row_131_equal_to_keras(shape: tuple[int, ...], scale: bool) -> None:
    layer = layers.BatchNormalization(scale=scale, epsilon=1e-3, dtype="float64")

    def reference(x: np.ndarray, *weights: np.ndarray):
        gamma = weights[0] if scale else np.ones(shape[-1])
        y, back = batch_norm(x, gamma, weights[-1])
        return y, lambda dy: tuple(d for n, d in enumerate(back(dy)) if scale or n != 1)

    assert_same(layer, reference, random(*shape), training=True)
    assert np.abs(np.asarray(layer.beta)).min() > 0  # gamma x + beta, and not gamma x alone


@pytest.mark.parametrize("shape", SHAPES)
def test_row_030_running_statistics_are_those_of_keras(shape: tuple[int, ...]) -> None:
    """momentum is what is kept; the variance is the biased one, that fused TensorFlow's is not."""
    layer = layers.BatchNormalization(momentum=0.8, dtype="float64")
    kept = Statistics(np.zeros(shape[-1]), np.ones(shape[-1]))
    for seed in range(3):
        x = random(*shape, seed=seed)
        layer(x, training=True)
        kept = running(kept, batch_statistics(x), momentum=0.8)
    np.testing.assert_allclose(layer.moving_mean, kept.mean, atol=1e-12)
    np.testing.assert_allclose(layer.moving_variance, kept.variance, atol=1e-12)
    weights = random(shape[-1], seed=7), random(shape[-1], seed=8)
    layer.gamma.assign(weights[0])
    layer.beta.assign(weights[1])
    y, _ = batch_norm_at_inference(x, *weights, kept)
    np.testing.assert_allclose(layer(x, training=False), y, atol=1e-12)
    ones, zeros = np.ones(shape[-1], np.float32), np.zeros(shape[-1], np.float32)
    maps = np.float32(x.reshape(shape[0], -1, 1, shape[-1]))
    _, _, fused = tf.compat.v1.nn.fused_batch_norm(maps, ones, zeros)
    m = x.size / shape[-1]
    np.testing.assert_allclose(fused, batch_statistics(x).variance * m / (m - 1), rtol=1e-4)


def test_row_133_at_inference_an_example_is_alone() -> None:
    x, kept = random(4, 3), Statistics(random(3, seed=1), np.abs(random(3, seed=2)))
    weights = random(3, seed=3), random(3, seed=4)
    together, _ = batch_norm_at_inference(x, *weights, kept)
    alone, _ = batch_norm_at_inference(x[:1], *weights, kept)
    np.testing.assert_array_equal(together[:1], alone)
    trained = batch_norm(x, *weights)[0][:1], batch_norm(x[:2], *weights)[0][:1]
    assert not np.allclose(*trained)
    assert_gradients(partial(batch_norm_at_inference, statistics=kept), x, *weights)
