"""Sizes against Keras's layers; receptive fields against the gradient's own footprint."""

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers

from models.geometry import Field, convolved, edges, extent, pooled, transposed

few = settings(max_examples=25, deadline=None)
sizes, kernels, strides = st.integers(1, 24), st.integers(1, 6), st.integers(1, 4)
paddings = st.sampled_from(["same", "valid"])
explicit = st.tuples(st.integers(0, 3), st.integers(0, 3))


def ran(layer: layers.Layer, size: int, padding: tuple[int, int] = (0, 0)) -> int:
    x = keras.ops.zeros((1, size, 1))
    return layer(layers.ZeroPadding1D(padding)(x)).shape[1]


def test_the_notes_example() -> None:
    first = convolved(200, 5, stride=2, padding=1)
    second = pooled(first, 3, stride=1)
    assert (first, second, convolved(second, 3, padding=1)) == (99, 97, 97)


@few
@given(sizes, kernels, strides, paddings, st.integers(1, 3))
def test_convolution(size, kernel, stride, padding, dilation) -> None:
    assume(padding == "same" or extent(kernel, dilation) <= size)
    assume(stride == 1 or dilation == 1)  # Keras has no both
    layer = layers.Conv1D(1, kernel, stride, padding, dilation_rate=dilation)
    assert convolved(size, kernel, stride, padding, dilation) == ran(layer, size)


@few
@given(sizes, kernels, strides, explicit)
def test_explicit_padding(size, kernel, stride, padding) -> None:
    assume(kernel <= size + sum(padding))
    layer = layers.Conv1D(1, kernel, stride)
    assert convolved(size, kernel, stride, padding) == ran(layer, size, padding)
    if padding[0] == padding[1]:
        assert convolved(size, kernel, stride, padding[0]) == ran(layer, size, padding)


@few
@given(sizes, kernels, strides, st.integers(1, 3))
def test_same_is_this_many_zeros_on_each_side(size, kernel, stride, dilation) -> None:
    assume(stride == 1 or dilation == 1)
    same = layers.Conv1D(1, kernel, stride, "same", dilation_rate=dilation)
    valid = layers.Conv1D(1, kernel, stride, dilation_rate=dilation)
    x = np.random.default_rng(0).standard_normal((1, size, 1)).astype("float32")
    padded = np.pad(x, ((0, 0), edges(size, kernel, stride, "same", dilation), (0, 0)))
    valid.build(padded.shape)
    same.build(x.shape)
    valid.set_weights(same.get_weights())
    np.testing.assert_allclose(same(x), valid(padded), atol=1e-5)


@few
@given(sizes, kernels, st.none() | strides, paddings)
def test_pooling(size, window, stride, padding) -> None:
    assume(padding == "same" or window <= size)
    layer = layers.MaxPooling1D(window, stride, padding)
    assert pooled(size, window, stride, padding) == ran(layer, size)


@few
@given(sizes, kernels, strides, st.integers(0, 3), st.integers(1, 2))
def test_ceil_mode_adds_windows_until_one_reaches_the_end(
    size, window, stride, padding, dilation
) -> None:
    covered = extent(window, dilation)
    assume(covered <= size + 2 * padding)
    assume(2 * padding <= window)  # PyTorch pools no window of zeros alone
    windows = 1
    while (windows - 1) * stride + covered < size + 2 * padding:
        if windows * stride >= size + padding:
            break  # it would start in the zeros after the input
        windows += 1
    assert pooled(size, window, stride, padding, True, dilation) == windows


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "floor", "ceil"),
    [
        (112, 3, 2, 0, 55, 56),  # GoogLeNet's and SqueezeNet's
        (55, 3, 2, 0, 27, 27),  # AlexNet's: nothing hangs over
        (5, 2, 2, 1, 3, 3),  # the fourth would see zeros alone
        (8, 2, 2, 0, 4, 4),
    ],
)
def test_floor_and_ceil(size, window, stride, padding, floor, ceil) -> None:
    assert pooled(size, window, stride, padding) == floor
    assert pooled(size, window, stride, padding, ceil_mode=True) == ceil


@few
@given(sizes, kernels, strides, paddings, st.none() | st.integers(0, 3))
def test_transposed(size, kernel, stride, padding, output_padding) -> None:
    assume(output_padding is None or output_padding < stride)
    layer = layers.Conv1DTranspose(
        1, kernel, strides=stride, padding=padding, output_padding=output_padding
    )
    spec = layer.compute_output_spec(keras.KerasTensor((1, size, 1)))
    assume(spec.shape[1] > 0)
    found = transposed(size, kernel, stride, padding, output_padding=output_padding)
    assert found == spec.shape[1]
    if output_padding is None:
        assert found == ran(layer, size)


@few
@given(sizes, kernels, strides, explicit, st.integers(1, 3), st.integers(0, 3))
def test_a_transposed_convolution_restores_what_was_convolved(
    size, kernel, stride, padding, dilation, output_padding
) -> None:
    assume(output_padding < stride)
    large = transposed(size, kernel, stride, padding, dilation, output_padding)
    assume(large > 0)
    assert convolved(large, kernel, stride, padding, dilation) == size


# Dumoulin & Visin 2016, chapter 4: kernel, stride, padding of the convolution; its input, output.
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "large", "small", "output_padding"),
    [
        (3, 1, 0, 4, 2, None),
        (4, 1, 2, 5, 6, None),
        (3, 1, 1, 5, 5, None),
        (3, 1, 2, 5, 7, None),
        (3, 2, 0, 5, 2, None),
        (3, 2, 1, 5, 3, None),
        (3, 2, 1, 6, 3, 1),
    ],
)
def test_the_tutorials_figures(kernel, stride, padding, large, small, output_padding) -> None:
    assert convolved(large, kernel, stride, padding) == small
    assert transposed(small, kernel, stride, padding, output_padding=output_padding) == large


def test_dilation_of_two_makes_three_cover_five() -> None:
    assert [extent(3, dilation) for dilation in (1, 2, 3)] == [3, 5, 7]


def test_too_large_a_kernel() -> None:
    with pytest.raises(ValueError, match="covers 5 doesn't fit on 3 with 0 \\+ 1 zeros"):
        convolved(3, 3, padding=(0, 1), dilation=2)


def gradient(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int):
    """Of a convolution whose weights are 1: a row for each output, a column for each input."""
    padded = np.eye(size + sum(padding), size, -padding[0])
    return np.stack(
        [
            padded[start : start + extent(kernel, dilation) : dilation].sum(axis=0)
            for start in range(0, len(padded) - extent(kernel, dilation) + 1, stride)
        ]
    )


rows = st.tuples(kernels, st.integers(1, 3), explicit, st.integers(1, 2))


@few
@given(st.lists(rows, min_size=1, max_size=4), st.lists(rows, min_size=1, max_size=3))
def test_fields_of_a_chain_and_of_two_branches(chain, other) -> None:
    found = []
    for branch in (chain, other):
        matrix, field = np.eye(60), Field()
        for kernel, stride, padding, dilation in branch:
            size = len(matrix)
            assume(extent(kernel, dilation) <= size + sum(padding))
            matrix = gradient(size, kernel, stride, padding, dilation) @ matrix
            field = field.through(kernel, stride, padding[0], dilation)
            assert len(matrix) == convolved(size, kernel, stride, padding, dilation)
        found.append((matrix, field))
    (one, first), (two, second) = found
    if first.stride == second.stride:
        size = min(len(one), len(two))
        found.append((one[:size] + two[:size], first.union(second, size)))
    found.append((one.sum(axis=0, keepdims=True), first.over(len(one))))
    for matrix, field in found:
        for position, seen in enumerate(map(np.flatnonzero, matrix)):
            wanted = field.at(position)
            assert set(seen) <= set(wanted)
            if wanted.start >= 0 and wanted.stop <= 60:
                assert (seen[0], seen[-1] + 1) == (wanted.start, wanted.stop)


def test_a_map_and_what_is_the_same_everywhere() -> None:
    gate, maps = Field(40, 0, -2), Field(7, 2, -3)
    assert maps.union(gate, 20) == gate.union(maps, 20) == Field(45, 0, -3)


def test_stacks_of_small_kernels() -> None:
    two = Field().through(3).through(3)
    assert (two.size, two.through(3).size) == (5, 7)
