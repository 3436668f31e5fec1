"""What makes a network convolutional: what it shares, sees, keeps and costs."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from keras.ops import convert_to_numpy

from models.cost import Cost, cost
from models.geometry import Field, convolved, extent
from models.layers.pca_colour import PCAColour
from models.reference.activations import relu
from models.reference.convolution import convolve
from models.reference.pooling import global_max, max_pool

RNG = np.random.default_rng(0)


def counted(call, shape: tuple[int, ...]) -> Cost:
    inputs = keras.Input(shape)
    return cost(keras.Model(inputs, call(inputs)), shape)


@pytest.mark.parametrize("count", [2, 3])
def test_row_009_small_filters_have_fewer_weights_and_more_to_remember(
    count: int,
) -> None:
    """Two 3x3 against one 5x5, three against one 7x7: as far to see, more ReLUs between."""
    conv = partial(layers.Conv2D, 8, padding="same", activation="relu", use_bias=False)

    def stack(x):
        for _ in range(count):
            x = conv(3)(x)
        return x

    shape, size = (12, 12, 8), 2 * count + 1
    small, large = counted(stack, shape), counted(conv(size), shape)
    assert (small.parameters, large.parameters) == (count * 9 * 64, size**2 * 64)
    assert small.multiply_adds < large.multiply_adds
    maps = 4 * 12 * 12 * 8
    assert small.forward_bytes - large.forward_bytes == (count - 1) * maps
    assert small.steps[-1].fields[0].size == large.steps[-1].fields[0].size == size


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 12))
def test_row_011_half_a_kernel_of_zeros_keeps_the_size(size: int, kernel_size: int) -> None:
    """(F - 1) / 2 on each side: of an odd kernel alone is that a number of zeros."""
    half = (kernel_size - 1) // 2
    kept = convolved(size + kernel_size, kernel_size, padding=half) == size + kernel_size
    assert kept == (kernel_size % 2 == 1)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
def test_row_012_without_zeros_each_layer_takes_a_kernel_less_one(kernel_size: int) -> None:
    x = keras.KerasTensor((1, 20, 20, 2))
    for left in (20 - (kernel_size - 1), 20 - 2 * (kernel_size - 1)):
        x = layers.Conv2D(2, kernel_size)(x)
        assert x.shape[1:3] == (left, left)


class TestEquivariance:
    """With circular padding nothing is lost at the borders: f(shift x) = shift f(x), exactly."""

    X, KERNEL = RNG.standard_normal((1, 8, 8, 2)), RNG.standard_normal((3, 3, 2, 3))

    def circular(self, x: np.ndarray, stride: int = 1) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
        return convolve(padded, self.KERNEL, stride=stride)[0]

    @pytest.mark.parametrize("shift", [(1, 0), (0, 3), (2, 5)])
    def test_row_078_to_translation(self, shift: tuple[int, int]) -> None:
        moved = self.circular(np.roll(self.X, shift, (1, 2)))
        np.testing.assert_array_equal(moved, np.roll(self.circular(self.X), shift, (1, 2)))

    def test_row_078_of_strides_by_their_multiples(self) -> None:
        y = self.circular(self.X, stride=2)
        even = self.circular(np.roll(self.X, 4, 1), stride=2)
        np.testing.assert_array_equal(even, np.roll(y, 2, 1))
        odd = self.circular(np.roll(self.X, 1, 1), stride=2)
        assert all(np.abs(odd - np.roll(y, by, 1)).max() > 0.1 for by in range(4))

    def test_row_078_not_to_rotation_nor_scale(self) -> None:
        turned = self.circular(np.rot90(self.X, axes=(1, 2)))
        assert np.abs(turned - np.rot90(self.circular(self.X), axes=(1, 2))).max() > 1
        large = self.circular(self.X.repeat(2, 1).repeat(2, 2))
        assert np.abs(large - self.circular(self.X).repeat(2, 1).repeat(2, 2)).max() > 1

    def test_row_078_not_at_borders_with_zeros(self) -> None:
        y, moved = (
            convolve(x, self.KERNEL, padding="same")[0] for x in (self.X, np.roll(self.X, 1, 1))
        )
        np.testing.assert_array_equal(moved[:, 2:-1], np.roll(y, 1, 1)[:, 2:-1])
        assert np.abs(moved - np.roll(y, 1, 1)).max() > 0.1

    def test_row_079_pooling_goes_on_to_invariance(self) -> None:
        """What moves with the input (convolution) is not what stays as it is (pooling)."""

        def change(pool) -> float:
            maps = relu(self.circular(self.X))[0], relu(self.circular(np.roll(self.X, 1, 1)))[0]
            one, other = (pool(m)[0] for m in maps)
            return float(np.linalg.norm(one - other) / np.linalg.norm(one))

        none, some = change(lambda m: (m, None)), change(lambda m: max_pool(m, 4))
        assert none > 1 > some > 0.0 == change(global_max)


@pytest.mark.parametrize(("groups", "weights"), [(1, 13_824), (2, 6_912)])
def test_row_080_weights_of_groups(groups: int, weights: int) -> None:
    layer = layers.Conv2D(48, 3, groups=groups)
    layer.build((1, 90, 100, 32))
    assert layer.count_params() == weights + 48
    assert layer.kernel.shape == (3, 3, 32 // groups, 48)
    depthwise = layers.Conv2D(24, 3, groups=24, use_bias=False)
    depthwise.build((1, 9, 9, 24))
    assert depthwise.count_params() == 216


def test_row_081_a_kernel_is_as_deep_as_its_input_and_there_is_one_a_map() -> None:
    layer = layers.Conv2D(7, (2, 3))
    assert layer(np.zeros((1, 9, 9, 5))).shape[-1] == 7
    assert layer.kernel.shape == (2, 3, 5, 7)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_row_095_holes_cost_nothing_and_a_dilation_of_one_has_none(dilation: int) -> None:
    layer = layers.Conv2D(4, 3, padding="same", dilation_rate=dilation, use_bias=False)
    found = counted(layer, (12, 12, 2))
    assert (found.parameters, found.multiply_adds) == (9 * 2 * 4, 144 * 9 * 2 * 4)
    assert found.steps[-1].fields[0].size == extent(3, dilation) == {1: 3, 2: 5, 3: 7}[dilation]


def seen(dilations: tuple[int, ...]) -> np.ndarray:
    """Which of 31 inputs the middle of a stack of dilated convolutions sees."""
    x = tf.zeros((1, 31, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for dilation in dilations:
            y = layers.Conv1D(
                1, 3, padding="same", dilation_rate=dilation, kernel_initializer="ones"
            )(y)
        middle = y[0, 15, 0]
    return np.flatnonzero(tape.gradient(middle, x)[0, :, 0]) - 15


def test_row_096_equal_dilations_leave_a_grid_of_holes() -> None:
    """Gridding; dilations without a common divisor don't.  Wang 2018, arXiv 1702.08502"""
    np.testing.assert_array_equal(seen((2, 2, 2)), np.arange(-6, 7, 2))
    np.testing.assert_array_equal(seen((1, 2, 3)), np.arange(-6, 7))


def test_row_119_sizes_behind_stacks() -> None:
    assert convolved(32, 5) == convolved(convolved(32, 3), 3) == 28
    assert convolved(32, 7) == convolved(28, 3) == 26


def test_row_112_colours_are_shifted_along_their_principal_components() -> None:
    """a has mean 0 and deviation 0.1: the shifts' covariance is 0.01 times the colours' squared."""
    mixing = RNG.standard_normal((3, 3))
    images = (RNG.standard_normal((40, 6, 6, 3)) @ mixing).astype(np.float32)
    layer = PCAColour.of(images, seed=1)
    x = np.zeros((20_000, 1, 2, 3), np.float32)
    shifts = convert_to_numpy(layer(x, training=True))
    np.testing.assert_array_equal(shifts[:, :, 0], shifts[:, :, 1])  # one for all of a picture
    found = np.cov(shifts[:, 0, 0], rowvar=False)
    colours = np.cov(images.reshape(-1, 3), rowvar=False)
    wanted = 0.01 * colours @ colours
    np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())
    assert np.all(np.abs(shifts.mean(axis=(0, 1, 2))) < 4 * np.sqrt(np.diag(wanted) / 20_000))
    np.testing.assert_array_equal(layer(x + 1, training=False), x + 1)


def test_row_143_a_frozen_batch_norm_stays_as_it_is() -> None:
    """In fine-tuning: without `trainable` it works as at inference, whatever `training` says."""
    norm, x = layers.BatchNormalization(), RNG.standard_normal((8, 3)).astype(np.float32)
    norm.build(x.shape)
    norm.moving_mean.assign([1.0, 2.0, 3.0])
    norm.trainable = False
    before = convert_to_numpy(norm(x, training=False))
    np.testing.assert_array_equal(norm(x, training=True), before)
    np.testing.assert_array_equal(norm.moving_mean, [1, 2, 3])
    model = keras.Sequential([layers.Input((3,)), layers.Dense(3), norm, layers.Dense(1)])
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    frozen = [convert_to_numpy(w).copy() for layer in model.layers[:2] for w in layer.weights]
    head = convert_to_numpy(model.layers[2].kernel).copy()
    model.train_on_batch(x, np.ones((8, 1)))
    for old, new in zip(frozen, [w for la in model.layers[:2] for w in la.weights], strict=True):
        np.testing.assert_array_equal(old, convert_to_numpy(new))
    assert not np.array_equal(head, convert_to_numpy(model.layers[2].kernel))


def test_row_144_a_filter_is_a_template_and_loudest_where_it_matches() -> None:
    template = RNG.standard_normal((3, 3, 2))
    x = 0.1 * RNG.standard_normal((1, 10, 10, 2))
    x[0, 4:7, 5:8] += template
    y, _ = convolve(x, template[..., np.newaxis])
    assert np.unravel_index(y.argmax(), y.shape) == (0, 4, 5, 0)
    # Of all patches of one length, none excites it more than itself (Cauchy and Schwarz).
    others = RNG.standard_normal((1000, 3, 3, 2))
    lengths = np.sqrt(np.sum(others**2, axis=(1, 2, 3), keepdims=True))
    others *= np.linalg.norm(template) / lengths
    assert convolve(others, template[..., np.newaxis])[0].max() < np.sum(template**2)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))
def test_row_145_a_map_a_filter_and_its_size(size, kernel_size, stride, zeros) -> None:
    size = max(size, kernel_size)
    layer = layers.Conv2D(5, kernel_size, strides=stride)
    y = layer(layers.ZeroPadding2D(zeros)(np.zeros((1, size, size, 2))))
    assert y.shape == (1, *2 * ((size - kernel_size + 2 * zeros) // stride + 1,), 5)


def test_row_149_a_position_belongs_to_a_place_in_the_input() -> None:
    """Fast R-CNN's map from features to pixels: position i looks at start + i * stride."""
    field = Field().through(3, 2, before=1).through(3, 2, before=1)
    x = np.zeros((1, 33, 33, 1), np.float32)
    x[0, 16, 16] = 1
    y = x
    for _ in range(2):
        y = layers.Conv2D(1, 3, 2, kernel_initializer="ones")(layers.ZeroPadding2D(1)(y))
    rows = np.flatnonzero(convert_to_numpy(y)[0].sum(axis=(1, 2)))
    assert list(rows) == [i for i in range(y.shape[1]) if 16 in field.at(i)]
    centres = [np.mean(field.at(i)) for i in range(3)]
    assert np.diff(centres).tolist() == [4.0, 4.0]


def test_row_155_a_network_of_the_lecture() -> None:
    """28x28 -> 25 of 26x26 -> 13x13 -> 50 of 11x11 -> 5x5 -> 1250 numbers."""
    pieces = [layers.Conv2D(25, 3), layers.MaxPooling2D(2)]
    pieces += [layers.Conv2D(50, 3), layers.MaxPooling2D(2), layers.Flatten()]
    x, shapes = keras.KerasTensor((1, 28, 28, 1)), []
    for piece in pieces:
        x = piece(x)
        shapes.append(x.shape[1:])
    assert shapes == [(26, 26, 25), (13, 13, 25), (11, 11, 50), (5, 5, 50), (1250,)]
    filters = [np.prod(piece.kernel.shape[:3]) for piece in (pieces[0], pieces[2])]
    assert filters == [9, 225]


def test_row_165_dimensions_of_a_word_have_no_order() -> None:
    """Convolution along time takes all at once: permuted with its weights, it is the same."""
    layer, x = layers.Conv1D(3, 2), RNG.standard_normal((2, 7, 5)).astype(np.float32)
    y = convert_to_numpy(layer(x))
    order = RNG.permutation(5)
    layer.kernel.assign(convert_to_numpy(layer.kernel)[:, order])
    np.testing.assert_allclose(layer(x[..., order]), y, atol=1e-6)
    moved = convert_to_numpy(layer(np.roll(x[..., order], 2, axis=1)))
    np.testing.assert_allclose(moved[:, 2:], y[:, :-2], atol=1e-6)
