"""What is kept of a map that is sampled or pooled: shifts, borders, masks, limits."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy

from models.layers.blur_pool import BlurPool
from models.layers.global_pooling import AttentionPool, ConcatPool, GeneralizedMeanPool

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kernel_size", [2, 3, 5])
def test_a_blur_keeps_what_is_constant_up_to_the_border(kernel_size: int) -> None:
    y = convert_to_numpy(BlurPool(kernel_size)(np.full((1, 7, 6, 2), 3, np.float32)))
    assert y.shape == (1, 4, 3, 2)
    np.testing.assert_allclose(y, 3, rtol=1e-6)


def test_a_blur_takes_the_finest_pattern_away() -> None:
    """A checkerboard, which sampling every second position would take for a constant."""
    board = np.indices((8, 8)).sum(axis=0) % 2 * 2.0 - 1
    x = board.astype(np.float32).reshape(1, 8, 8, 1)
    np.testing.assert_allclose(BlurPool(3)(x), 0, atol=1e-6)
    assert set(x[:, ::2, ::2].ravel()) == {-1.0}


def changes(sample, maps: np.ndarray) -> float:
    """How much a shift of one pixel changes what is sampled, far from the borders."""
    one, other = (np.asarray(sample(m))[:, 4:-4, 4:-4] for m in (maps, np.roll(maps, 1, axis=2)))
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def test_row_079_maxima_and_blurs_make_sampling_bear_a_shift() -> None:
    """Zhang 2019, section 3.2: maxima at each position, then a blur, then sampling."""
    maps = np.maximum(normal(4, 48, 48, 3), 0)
    dense = layers.MaxPooling2D(2, 1, padding="same")
    plain, pooled = changes(lambda m: m[:, ::2, ::2], maps), changes(layers.MaxPooling2D(2), maps)
    blurred = [changes(lambda m, k=k: BlurPool(k)(dense(m)), maps) for k in (3, 5)]
    assert plain > pooled > blurred[0] > blurred[1]
    assert blurred[0] < 0.5 * pooled


def test_a_generalized_mean_lies_between_mean_and_maximum() -> None:
    x = np.abs(normal(2, 5, 4, 3)) + 0.1
    mean, most = x.mean(axis=(1, 2)), x.max(axis=(1, 2))
    np.testing.assert_allclose(GeneralizedMeanPool(1.0)(x), mean, rtol=1e-4)
    np.testing.assert_allclose(GeneralizedMeanPool(1000.0)(x), most, rtol=0.01)
    between = convert_to_numpy(GeneralizedMeanPool()(x))
    assert np.all((mean < between) & (between < most))


def test_a_generalized_mean_of_zeros_can_be_trained() -> None:
    """After a ReLU a map may be all zeros, where powers have no gradient."""
    model = keras.Sequential([layers.Input((3, 3, 2)), GeneralizedMeanPool()])
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch(np.zeros((2, 3, 3, 2)), np.ones((2, 2))))
    assert np.isfinite(convert_to_numpy(model.weights[0]))


def test_concat_is_the_mean_then_the_maximum() -> None:
    x = normal(2, 5, 4, 3)
    wanted = np.concatenate([x.mean(axis=(1, 2)), x.max(axis=(1, 2))], axis=-1)
    np.testing.assert_allclose(ConcatPool()(x), wanted, atol=1e-6)


def test_attention_with_equal_scores_is_the_mean() -> None:
    layer, x = AttentionPool(4), normal(2, 5, 4, 3)
    layer.build(x.shape)
    layer.score.kernel.assign(np.zeros((4, 1)))
    np.testing.assert_allclose(layer(x), x.mean(axis=(1, 2)), atol=1e-6)


def test_attention_gives_masked_positions_no_weight() -> None:
    layer, x = AttentionPool(4), normal(2, 5, 3)
    alone = layer(x)
    padded = np.concatenate([x, 100 * normal(2, 3, 3)], axis=1)
    mask = np.arange(8)[np.newaxis] < [[5], [5]]
    np.testing.assert_allclose(layer(padded, mask=mask), alone, atol=1e-6)
    # As Keras hands it down.
    words = keras.Sequential([layers.Embedding(9, 3, mask_zero=True), layer])
    short, long = np.array([[4, 7]]), np.array([[4, 7, 0, 0, 0]])
    np.testing.assert_allclose(words(long), words(short), atol=1e-6)
