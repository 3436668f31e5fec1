"""Transposed convolution: sizes, checkerboards, and that it is no inverse."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from keras import layers

from models.geometry import convolved
from models.reference.convolution import convolve
from models.reference.toeplitz import toeplitz
from models.reference.transposed import transposed_convolve
from tests.models.reference.checks import assert_gradients, assert_same, random
from tests.models.reference.drawn import Problem, few, problems


@few
@given(problems(groups=(1,), paddings=(1, (0, 2))))
def test_row_083_it_is_the_transposed_matrix(problem: Problem) -> None:
    """Each size that a convolution came from is one of a transposed one's `output_padding`s."""
    options = {key: value for key, value in problem.options.items() if key != "groups"}
    small, _ = convolve(problem.x, problem.kernel, **options)
    extra = [
        (n + 2 - options["dilation"] * (k - 1) - 1) % options["stride"]
        for n, k in zip(problem.x.shape[1:-1], problem.kernel.shape, strict=False)
    ]
    assume(len(set(extra)) == 1)
    y, _ = transposed_convolve(small, problem.kernel, output_padding=extra[0], **options)
    assert y.shape == problem.x.shape
    matrix = toeplitz(problem.kernel, problem.x.shape[1:-1], **options)
    wanted = np.stack([matrix.T @ image.ravel() for image in small]).reshape(y.shape)
    np.testing.assert_allclose(y, wanted, atol=1e-12)


@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_row_092_gradients(stride: int, padding) -> None:
    layer = partial(transposed_convolve, stride=stride, padding=padding)
    assert_gradients(layer, random(2, 3, 2, 2), random(3, 3, 2, 2), random(2))


@few
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["same", "valid"]),
    st.integers(1, 2),
)
def test_row_092_equal_to_keras(size, kernel_size, stride, padding, filters) -> None:
    x = random(2, size, size + 1, 3)
    layer = layers.Conv2DTranspose(
        filters, kernel_size, strides=stride, padding=padding, dtype="float64"
    )
    assert_same(layer, partial(transposed_convolve, stride=stride, padding=padding), x)


# Dumoulin & Visin 2016, chapter 4; and sizes that Keras gives.
@pytest.mark.parametrize(
    ("small", "kernel", "stride", "padding", "output_padding", "large"),
    [
        (2, 3, 1, 0, 0, 4),
        (6, 4, 1, 2, 0, 5),
        (5, 3, 1, 1, 0, 5),
        (7, 3, 1, 2, 0, 5),
        (2, 3, 2, 0, 0, 5),
        (3, 3, 2, 1, 0, 5),
        (3, 3, 2, 1, 1, 6),
        (2, 3, 1, "valid", None, 4),
        (2, 3, 2, "valid", None, 5),
        (3, 3, 2, "same", None, 6),
        (2, 3, 2, "valid", 1, 6),
    ],
)
def test_row_093_sizes_of_the_tutorial(
    small, kernel, stride, padding, output_padding, large
) -> None:
    x, weights = random(1, small, small, 1), random(kernel, kernel, 1, 1)
    y, _ = transposed_convolve(x, weights, None, stride, padding, output_padding=output_padding)
    assert y.shape == (1, large, large, 1)
    if isinstance(padding, str):
        layer = layers.Conv2DTranspose(
            1, kernel, strides=stride, padding=padding, output_padding=output_padding
        )
        assert layer(x).shape == y.shape
    assert convolved(large, kernel, stride, padding) == small


def test_row_092_the_shape_comes_back_and_the_values_do_not() -> None:
    x, kernel = random(1, 5, 5, 1), random(3, 3, 1, 1, seed=1)
    small, _ = convolve(x, kernel, stride=2)
    y, _ = transposed_convolve(small, kernel, stride=2)
    assert (small.shape[1:3], y.shape) == ((2, 2), x.shape)
    assert np.abs(y - x).max() > 0.5


def overlaps(kernel_size: int, stride: int, size: int = 6) -> np.ndarray:
    """How many kernels lie over each position of the output, borders left out."""
    layer = layers.Conv1DTranspose(1, kernel_size, strides=stride, kernel_initializer="ones")
    return np.asarray(layer(np.ones((1, size, 1))))[0, kernel_size:-kernel_size, 0]


def test_row_094_a_checkerboard_where_the_stride_does_not_divide_the_kernel() -> None:
    """Of a constant map; remedies: a kernel that the stride divides, or resize and convolve.

    Source: Odena 2016, "Deconvolution and Checkerboard Artifacts", doi 10.23915/distill.00003.
    """
    uneven = overlaps(3, 2)
    assert set(uneven) == {1.0, 2.0}
    assert np.all(uneven[:-1] != uneven[1:])
    assert set(overlaps(4, 2)) == {2.0}
    resized = layers.UpSampling1D(2)(np.ones((1, 6, 1)))
    even = layers.Conv1D(1, 3, kernel_initializer="ones")(resized)
    assert set(np.asarray(even).ravel()) == {3.0}
