"""What moves along frequency, what doesn't, and what normalises parts of it."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.ops import convert_to_numpy

from models.layers.frames import PadFrames
from models.layers.frequency import FrequencyConv, SubSpectralNorm

RNG = np.random.default_rng(0)
UP = 3  # bands


def voice() -> tuple[np.ndarray, np.ndarray]:
    """A pattern in the middle bands, and the same one in higher ones."""
    x = np.zeros((1, 9, 24, 1), np.float32)
    x[:, :, 8:14] = RNG.standard_normal((1, 9, 6, 1))
    return x, np.roll(x, UP, axis=2)


def test_row_164_the_map_of_a_higher_voice_is_the_map_moved_up() -> None:
    """All frames in one window: frequency is the only way that the filters can move."""
    low, high = voice()
    layer = FrequencyConv(4, context=9, bands=5, padding="valid")
    y, moved = np.array(layer(low)), np.array(layer(high))
    assert y.shape == (1, 1, 20, 4)
    np.testing.assert_array_equal(moved[:, :, UP:], y[:, :, :-UP])
    np.testing.assert_array_equal(moved.max(axis=2), y.max(axis=2))


def test_row_164_moving_up_by_a_section_is_another_pattern_to_limited_weights() -> None:
    low, high = voice()
    layer = FrequencyConv(4, context=9, bands=4, padding="valid", sections=21 // UP)
    y, moved = np.array(layer(low)), np.array(layer(high))
    assert y.shape == (1, 1, 21 // UP, 4)
    assert np.abs(moved[:, :, 1:] - y[:, :, :-1]).max() > 0.1
    # With the same weights everywhere it would be the same pattern, one section further up.
    for kernel in layer.kernels[1:]:
        kernel.assign(layer.kernels[0])
    y, moved = np.array(layer(low)), np.array(layer(high))
    np.testing.assert_allclose(moved[:, :, 1:], y[:, :, :-1], atol=1e-6)


def test_limited_sharing_is_the_maximum_of_each_section_with_its_own_weights() -> None:
    layer = FrequencyConv(3, context=5, bands=4, band_stride=2, context_stride=2, sections=2)
    x = RNG.standard_normal((2, 9, 10, 2)).astype(np.float32)
    y = np.array(layer(x))
    padded = np.pad(x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    assert y.shape == (2, 5, 2, 3) == layer.compute_output_shape(x.shape)
    for frame in range(5):
        for section, firsts in enumerate(((0, 2), (4, 6))):
            windows = [padded[:, 2 * frame : 2 * frame + 5, f : f + 4] for f in firsts]
            kernel = convert_to_numpy(layer.kernels[section])
            places = [np.einsum("btfc,tfck->bk", window, kernel) for window in windows]
            np.testing.assert_allclose(y[:, frame, section], np.maximum(*places), atol=1e-5)


def test_sections_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"7 places.*2 equal sections.*divisor of 7"):
        FrequencyConv(3, context=5, bands=4, sections=2)(np.zeros((1, 9, 10, 1), np.float32))


def test_each_part_of_the_bands_has_statistics_of_its_own() -> None:
    """In training mean 0 and deviation 1 of each channel of each part, whatever their levels."""
    levels = np.repeat([0.0, 10.0, -5.0], 2)[:, np.newaxis]
    x = (RNG.standard_normal((4, 7, 6, 2)) * (1 + np.abs(levels)) + levels).astype(np.float32)
    layer = SubSpectralNorm(3)
    parts = np.array(layer(x, training=True)).reshape(4, 7, 3, 2, 2)
    np.testing.assert_allclose(parts.mean(axis=(0, 1, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(parts.std(axis=(0, 1, 3)), 1.0, atol=1e-3)
    # The running means: channel c of part g at g * C + c, as in the authors' transposed layout.
    wanted = 0.1 * x.reshape(4, 7, 3, 2, 2).mean(axis=(0, 1, 3)).ravel()
    np.testing.assert_allclose(convert_to_numpy(layer.norm.moving_mean), wanted, rtol=1e-4)


def test_one_part_is_batch_norm_and_any_number_of_frames_works() -> None:
    x = RNG.standard_normal((2, 5, 6, 3)).astype(np.float32)
    plain = layers.BatchNormalization(epsilon=1e-5)
    np.testing.assert_allclose(
        SubSpectralNorm(1)(x, training=True), plain(x, training=True), atol=1e-6
    )
    layer = SubSpectralNorm(3)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((None, None, 6, 3)))
    for frames in (1, 5):
        np.testing.assert_allclose(graph(x[:, :frames]), layer(x[:, :frames]), atol=1e-6)


def test_parts_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"6 mel bands.*5 equal parts"):
        SubSpectralNorm(5)(np.zeros((1, 2, 6, 1), np.float32))


def test_frames_are_padded_only_where_they_are_too_few() -> None:
    layer = PadFrames(4)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((None, None, 2)))
    for frames in (1, 4, 7):
        x = RNG.standard_normal((2, frames, 2)).astype(np.float32)
        wanted = np.pad(x, ((0, 0), (0, max(0, 4 - frames)), (0, 0)))
        np.testing.assert_array_equal(layer(x), wanted)
        np.testing.assert_array_equal(graph(x), wanted)
        assert layer.compute_output_shape(x.shape) == wanted.shape
    assert layer.compute_output_shape((None, None, 2)) == (None, None, 2)
