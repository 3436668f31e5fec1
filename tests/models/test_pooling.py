"""Ceil-mode pooling, against its definition in plain loops."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.ops import convert_to_numpy

from models.layers.pooling import CeilMaxPool


def pooled(x: np.ndarray, pool_size: int, stride: int) -> np.ndarray:
    """PyTorch's rule: as many windows as begin to fit, none that starts outside."""

    def starts(size: int) -> list[int]:
        count = -(-(size - pool_size) // stride) + 1
        return [start for start in range(0, count * stride, stride) if start < size]

    return np.stack(
        [
            np.stack(
                [
                    x[:, top : top + pool_size, left : left + pool_size].max((1, 2))
                    for left in starts(x.shape[2])
                ],
                axis=1,
            )
            for top in starts(x.shape[1])
        ],
        axis=1,
    )


def negative(height: int, width: int) -> np.ndarray:
    return -np.random.default_rng(0).random((2, height, width, 3), np.float32) - 1


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(1, 5))
def test_equals_its_definition(height: int, width: int, pool_size: int, stride: int) -> None:
    height, width = max(height, pool_size), max(width, pool_size)
    x = negative(height, width)  # no zeros of a padding may win
    y = convert_to_numpy(CeilMaxPool(pool_size, stride)(x))
    np.testing.assert_array_equal(y, pooled(x, pool_size, stride))


# fmt: off
SIZES = [
    (112, 56), (56, 28), (28, 14), (14, 7),  # GoogLeNet
    (109, 54), (54, 27), (27, 13),           # SqueezeNet 1.0
    (2, 1),                                  # a window larger than the input
]
# fmt: on


@pytest.mark.parametrize(("size", "out"), SIZES)
def test_the_sizes_that_papers_give(size: int, out: int) -> None:
    assert CeilMaxPool(3, 2).compute_output_shape((None, size, size, 8)) == (None, out, out, 8)


def test_no_window_starts_outside() -> None:
    assert CeilMaxPool(1, 2).compute_output_shape((1, 4, 5, 1)) == (1, 2, 3, 1)


@pytest.mark.parametrize("size", [7, 8])
def test_a_size_that_is_not_known_in_advance(size: int) -> None:
    inputs = keras.Input((None, None, 3))
    network = keras.Model(inputs, CeilMaxPool(3, 2)(inputs))
    x = negative(size, 9)
    np.testing.assert_array_equal(convert_to_numpy(network(x)), pooled(x, 3, 2))


def test_where_the_windows_fit_it_is_keras_own() -> None:
    inputs = keras.Input((7, 9, 3))
    layer = CeilMaxPool(3, 2)
    layer(inputs)
    assert layer._overhang(7) == layer._overhang(9) == 0
    x = negative(7, 9)
    np.testing.assert_array_equal(
        convert_to_numpy(layer(x)), convert_to_numpy(keras.layers.MaxPooling2D(3, 2)(x))
    )
