"""Pooling: the worked example, ties, gradients, and Keras's layers."""

from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from keras import layers

from models.layers.pooling import CeilMaxPool
from models.reference.pooling import global_max, global_mean, max_pool, mean_pool
from tests.models.reference.checks import assert_gradients, assert_same, random
from tests.models.reference.drawn import few

DELTA = np.array([[2.0, 8.0], [4.0, 6.0]])


def map_of(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, *values.shape, 1)


def test_row_087_the_mean_shares_the_error_out() -> None:
    _, back = mean_pool(random(1, 4, 4, 1), 2)
    shared = [[0.5, 0.5, 2, 2], [0.5, 0.5, 2, 2], [1, 1, 1.5, 1.5], [1, 1, 1.5, 1.5]]
    np.testing.assert_array_equal(back(map_of(DELTA))[0, ..., 0], shared)


def test_row_089_the_maximum_takes_all_of_it() -> None:
    x = np.array([[1, 5, 2, 0], [3, 4, 1, 7], [9, 0, 1, 2], [8, 1, 3, 0.0]])
    y, back = max_pool(map_of(x), 2)
    np.testing.assert_array_equal(y[0, ..., 0], [[5, 7], [9, 3]])
    wanted = np.zeros((4, 4))
    wanted[0, 1], wanted[1, 3], wanted[2, 0], wanted[3, 2] = 2, 8, 4, 6
    np.testing.assert_array_equal(back(map_of(DELTA))[0, ..., 0], wanted)


def test_row_088_a_mean_of_four_has_the_derivative_one_quarter() -> None:
    _, back = mean_pool(random(1, 2, 2, 1), 2)
    np.testing.assert_array_equal(back(np.ones((1, 1, 1, 1))), np.full((1, 2, 2, 1), 1 / 4))


@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_row_035_of_equals_the_first_is_the_maximum(size: tuple[int, int]) -> None:
    x = np.zeros((2, *size, 3))
    assert_same(
        layers.MaxPooling2D(2, 1, dtype="float64"), partial(max_pool, pool_size=2, stride=1), x
    )
    _, back = max_pool(x, 2)
    assert back(np.ones((2, size[0] // 2, size[1] // 2, 3)))[0, 0, 0, 0] == 1


pools = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))


@few
@given(pools, st.sampled_from(["same", "valid"]), st.booleans())
def test_row_035_gradients(pool, padding, ceil_mode) -> None:
    height, width, window, stride = pool
    assume(padding == "same" or window <= min(height, width))
    x = random(2, height, width, 2)
    ceil_mode = ceil_mode and padding == "valid"
    assert_gradients(
        partial(max_pool, pool_size=window, stride=stride, padding=padding, ceil_mode=ceil_mode), x
    )
    assert_gradients(partial(mean_pool, pool_size=window, stride=stride, padding=padding), x)


@few
@given(pools, st.sampled_from(["same", "valid"]))
def test_row_151_equal_to_keras(pool, padding) -> None:
    height, width, window, stride = pool
    assume(padding == "same" or window <= min(height, width))
    options = {"pool_size": window, "padding": padding}
    x = random(2, height, width, 2)
    for layer, reference in ((layers.MaxPooling2D, max_pool), (layers.AveragePooling2D, mean_pool)):
        theirs = layer(strides=stride, dtype="float64", **options)
        assert_same(theirs, partial(reference, stride=stride, **options), x)
        assert theirs(x).shape[-1] == x.shape[-1]  # channels stay


@few
@given(pools)
def test_row_090_ceil_mode_is_our_layers(pool) -> None:
    height, width, window, stride = pool
    assume(window <= min(height, width))
    x = -np.abs(random(2, height, width, 2)) - 1  # no zero of a padding may win
    layer = CeilMaxPool(window, stride, dtype="float64")
    assert_same(layer, partial(max_pool, pool_size=window, stride=stride, ceil_mode=True), x)


def test_row_109_overlapping_windows() -> None:
    """z = 3, s = 2 against 2, 2 on 8x8; and AlexNet's sizes."""
    sizes = [max_pool(random(1, 8, 8, 1), *pool)[0].shape[1] for pool in ((2, 2), (3, 2))]
    assert sizes == [4, 3]
    alexnet = [
        layers.MaxPooling2D(3, 2).compute_output_shape((1, n, n, 1))[1] for n in (55, 27, 13)
    ]
    assert alexnet == [27, 13, 6]
    x = np.zeros((1, 5, 5, 1))
    x[0, 2, 2] = 1  # in all four windows
    assert max_pool(x, 3, 2)[0].sum() == 4


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3, 4, 3)])
def test_row_154_global_pooling(shape: tuple[int, ...]) -> None:
    x = random(*shape)
    kinds = [
        (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, global_mean),
        (layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, global_max),
    ]
    for one, two, reference in kinds:
        assert_gradients(reference, x)
        layer = (one if len(shape) == 3 else two)(dtype="float64")
        assert_same(layer, reference, x)
        assert_same(layer, reference, np.zeros(shape))  # all of them equal
        assert layer(x).shape == (2, 3)
        assert not layer.weights


def test_row_003_a_pool_has_no_weights_and_saves_those_behind_it() -> None:
    """A convolution behind it has as many as before; what is flattened, a quarter."""

    def network(head: list[layers.Layer], pooled: bool) -> int:
        pool = [layers.MaxPooling2D(2)] if pooled else []
        return keras.Sequential([layers.Input((8, 8, 4)), *pool, *head]).count_params()

    assert network([], True) == 0
    conv = [3 * 3 * 4 * 5 + 5] * 2
    assert [network([layers.Conv2D(5, 3)], p) for p in (True, False)] == conv
    flat = [[layers.Flatten(), layers.Dense(10, use_bias=False)] for _ in range(2)]
    assert (network(flat[0], True), network(flat[1], False)) == (4 * 4 * 4 * 10, 8 * 8 * 4 * 10)
