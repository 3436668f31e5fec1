"""Convolution three ways, its gradients, and textbooks' worked examples."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from scipy import signal

from models.reference import im2col
from models.reference.convolution import convolve, depthwise
from models.reference.im2col import col2im
from models.reference.toeplitz import toeplitz
from models.reference.transposed import transposed_convolve
from models.reference.windows import Windows
from tests.models.reference.checks import assert_gradients, random
from tests.models.reference.drawn import Problem, few, problems


def windows_of(problem: Problem) -> Windows:
    options = {key: value for key, value in problem.options.items() if key != "groups"}
    return Windows.of_convolution(problem.x.shape[1:-1], problem.kernel.shape[:-2], **options)


@few
@given(problems())
def test_row_034_three_ways_are_one_convolution(problem: Problem) -> None:
    x, kernel, bias = problem.arguments
    y, back = convolve(*problem.arguments, **problem.options)
    dy = random(*y.shape, seed=3)
    wanted = back(dy)
    product, product_back = im2col.convolve(*problem.arguments, **problem.options)
    np.testing.assert_allclose(product, y, atol=1e-12)
    for one, other in zip(product_back(dy), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    matrix = toeplitz(kernel, x.shape[1:-1], **problem.options)
    rows = np.stack([matrix @ image.ravel() for image in x]).reshape(y.shape) + bias
    np.testing.assert_allclose(rows, y, atol=1e-12)
    dx = np.stack([matrix.T @ d.ravel() for d in dy]).reshape(x.shape)
    np.testing.assert_allclose(dx, wanted[0], atol=1e-12)


@few
@given(problems(), st.sampled_from([convolve, im2col.convolve]))
def test_row_034_gradients(problem: Problem, way) -> None:
    assert_gradients(partial(way, **problem.options), *problem.arguments)


@few
@given(problems(groups=(1,)))
def test_row_055_gradients_of_a_depthwise_convolution(problem: Problem) -> None:
    options = {key: value for key, value in problem.options.items() if key != "groups"}
    assert_gradients(partial(depthwise, **options), problem.x, problem.kernel)


@few
@given(problems(axes=2, groups=(1,), paddings=("valid", (0, 2))))
def test_row_002_each_number_is_scipys_correlation(problem: Problem) -> None:
    x, kernel, bias = problem.arguments
    stride, dilation = problem.options["stride"], problem.options["dilation"]
    y, _ = convolve(x, kernel, bias, **problem.options)
    padded = windows_of(problem).pad(x)
    spread = [dilation * (k - 1) + 1 for k in kernel.shape[:2]]
    wide = np.zeros((*spread, *kernel.shape[2:]))
    wide[::dilation, ::dilation] = kernel
    for b, f in np.ndindex(len(x), kernel.shape[-1]):
        maps = [
            signal.correlate2d(padded[b, ..., c], wide[..., c, f], "valid")
            for c in range(x.shape[-1])
        ]
        np.testing.assert_allclose(
            y[b, ..., f], sum(maps)[::stride, ::stride] + bias[f], atol=1e-12
        )


@few
@given(problems(paddings=("same", "valid"), stride_and_dilation=False))
def test_row_002_equal_to_keras(problem: Problem) -> None:
    options = {"padding": problem.options["padding"], "strides": problem.options["stride"]}
    options["dilation_rate"] = problem.options["dilation"]
    y, _ = convolve(problem.x, problem.kernel, **problem.options)
    # Of groups Keras compiles each shape anew, which takes seconds: group by group here.
    groups = problem.options["groups"]
    x, kernels = np.split(problem.x, groups, -1), np.split(problem.kernel, groups, -1)
    theirs = [ops.conv(a, k, **options) for a, k in zip(x, kernels, strict=True)]
    np.testing.assert_allclose(y, np.concatenate(theirs, axis=-1), atol=1e-10)


@few
@given(problems(groups=(1,)))
def test_row_037_im2col_holds_the_windows_and_col2im_is_its_adjoint(problem: Problem) -> None:
    windows = windows_of(problem)
    rows = im2col.im2col(problem.x, windows)
    padded = windows.pad(problem.x)
    wanted = [
        padded[b, *window].ravel() for b in range(len(padded)) for _, window in windows.each()
    ]
    np.testing.assert_array_equal(rows, wanted)
    y = random(*rows.shape, seed=5)
    there, back = np.sum(rows * y), np.sum(problem.x * col2im(y, windows, problem.x.shape))
    np.testing.assert_allclose(there, back, rtol=1e-12, atol=1e-12)


def test_row_037_windows_are_numpys() -> None:
    x = random(1, 5, 6, 2)
    rows = im2col.im2col(x, Windows.of_convolution((5, 6), (3, 2)))
    views = np.lib.stride_tricks.sliding_window_view(x[0], (3, 2), axis=(0, 1))
    np.testing.assert_array_equal(rows.reshape(3, 5, 3, 2, 2), np.moveaxis(views, 2, -1))


def test_row_085_a_convolution_as_a_product_of_two_matrices() -> None:
    """3x3 pixels of 3 channels, two kernels of 2x2: [4, 12] @ [12, 2] = [4, 2], or 2x2x2."""
    x, kernel = random(1, 3, 3, 3), random(2, 2, 3, 2, seed=1)
    rows = im2col.im2col(x, Windows.of_convolution((3, 3), (2, 2)))
    matrix = kernel.reshape(12, 2)
    assert (rows.shape, matrix.shape) == ((4, 12), (12, 2))
    y, _ = convolve(x, kernel)
    assert y.shape == (1, 2, 2, 2)
    np.testing.assert_allclose((rows @ matrix).reshape(y.shape), y)
    # Caffe's order, channels first: other columns, the same product.
    order = np.arange(12).reshape(2, 2, 3).transpose(2, 0, 1).ravel()
    np.testing.assert_array_equal(rows[0, order], x[0, :2, :2].transpose(2, 0, 1).ravel())
    np.testing.assert_allclose(rows[:, order] @ matrix[order], rows @ matrix)


def test_row_086_backpropagation_written_out() -> None:
    """z11 = a11 w11 + a12 w12 + a21 w21 + a22 w22, and so on."""
    a, w, d = random(3, 3), random(2, 2, seed=1), random(2, 2, seed=2)
    z, back = convolve(a.reshape(1, 3, 3, 1), w.reshape(2, 2, 1, 1))
    written = np.array(
        [
            [sum(a[i + p, j + q] * w[p, q] for p in (0, 1) for q in (0, 1)) for j in (0, 1)]
            for i in (0, 1)
        ]
    )
    np.testing.assert_allclose(z.reshape(2, 2), written)
    da, dw, _ = back(d.reshape(1, 2, 2, 1))
    assert dw[0, 0, 0, 0] == pytest.approx(
        d[0, 0] * a[0, 0] + d[0, 1] * a[0, 1] + d[1, 0] * a[1, 0] + d[1, 1] * a[1, 1]
    )
    # The weights' gradient is a correlation of a and d, the input's a full one of d with w turned.
    np.testing.assert_allclose(dw[..., 0, 0], signal.correlate2d(a, d, "valid"))
    turned = np.rot90(w, 2)
    np.testing.assert_allclose(da.reshape(3, 3), signal.correlate2d(d, turned, "full"))


class TestAsAMatrix:
    def test_row_083_of_4x4_by_3x3(self) -> None:
        w = random(3, 3)
        matrix = toeplitz(w.reshape(3, 3, 1, 1), (4, 4))
        assert matrix.shape == (4, 16)
        first = np.zeros((4, 4))
        first[:3, :3] = w
        np.testing.assert_array_equal(matrix.toarray()[0], first.ravel())
        y = random(1, 2, 2, 1, seed=1)
        larger, _ = transposed_convolve(y, w.reshape(3, 3, 1, 1))
        np.testing.assert_allclose(matrix.T @ y.ravel(), larger.ravel())

    def test_row_076_each_output_sees_a_kernels_worth_of_inputs(self) -> None:
        matrix = toeplitz(random(3, 3, 2, 4), (6, 5))
        assert matrix.shape == (4 * 3 * 4, 6 * 5 * 2)
        assert set(np.diff(matrix.indptr)) == {3 * 3 * 2}

    def test_row_077_sharing_saves_storage_and_sparsity_products(self) -> None:
        """A product for each entry; but all entries are the kernel's few numbers."""
        kernel = random(3, 3, 2, 4)
        matrix = toeplitz(kernel, (6, 5))
        products = 4 * 3 * kernel.size
        assert matrix.nnz == products < np.prod(matrix.shape)
        assert len(np.unique(matrix.data)) == kernel.size < products

    def test_row_150_it_is_a_fully_connected_layer_pruned_and_shared(self) -> None:
        x, kernel = random(2, 5, 4, 2), random(3, 3, 2, 3, seed=1)
        dense = toeplitz(kernel, (5, 4), stride=2, padding="same").toarray()
        y, _ = convolve(x, kernel, stride=2, padding="same")
        np.testing.assert_allclose((x.reshape(2, -1) @ dense.T).reshape(y.shape), y)

    def test_along_one_axis_each_diagonal_has_one_value(self) -> None:
        matrix = toeplitz(random(3, 1, 1), (7,)).toarray()
        for offset in range(-4, 7):
            assert len(np.unique(np.diagonal(matrix, offset))) == 1


def test_row_080_groups_halve_the_weights_and_see_their_half_alone() -> None:
    """32 channels in, 48 filters of 3x3: the first 24 see the first 16."""
    assert 3 * 3 * 32 * 48 == 13_824
    kernel = random(3, 3, 16, 48)
    assert kernel.size == 6_912
    x = random(1, 3, 3, 32)
    y, _ = convolve(x, kernel, groups=2)
    x[..., 16:] = 0
    blind, _ = convolve(x, kernel, groups=2)
    np.testing.assert_array_equal(blind[..., :24], y[..., :24])
    assert np.all(blind[..., 24:] != y[..., 24:])
    assert 24 * 3 * 3 == 216 == random(3, 3, 1, 24).size  # as many groups as channels


def test_row_082_channels_are_convolved_each_alone_and_summed() -> None:
    x, kernel = random(1, 5, 5, 3), random(3, 3, 3, 2, seed=1)
    y, _ = convolve(x, kernel)
    alone = [convolve(x[..., [c]], kernel[:, :, [c]])[0] for c in range(3)]
    np.testing.assert_allclose(sum(alone), y)


def test_row_123_a_1x1_before_the_5x5_saves_three_quarters() -> None:
    direct = 128 * 5 * 5 * 256
    reduced = 128 * 32 + 32 * 5 * 5 * 256
    assert (direct, reduced) == (819_200, 4_096 + 204_800)
    assert direct / reduced == pytest.approx(3.92, abs=0.005)


def test_row_126_asymmetric_kernels_are_the_kernels_of_rank_one() -> None:
    """3x1 then 1x3 is one 3x3 whose rank is 1, if no ReLU lies between; few 3x3 are like that."""
    x, column, row = random(1, 6, 5, 1), random(3, 1, 1, 1, seed=1), random(1, 3, 1, 1, seed=2)
    twice, _ = convolve(convolve(x, column)[0], row)
    product = column[:, 0, 0, 0, np.newaxis] * row[0, :, 0, 0]
    once, _ = convolve(x, product.reshape(3, 3, 1, 1))
    np.testing.assert_allclose(twice, once)
    assert np.linalg.matrix_rank(product) == 1
    assert np.linalg.matrix_rank(random(3, 3)) == 3
    saved = 1 - (column.size + row.size) / product.size
    assert saved == pytest.approx(0.33, abs=0.005)
