"""Penalties, modifiers and waves, against SciPy, TensorFlow and arithmetic."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from pipelines.explain.input_modifiers import Blur, Jitter, Rotate2D
from pipelines.explain.parametrisation import Fourier
from pipelines.explain.regularizers import L1, L2, TotalVariation2D


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 12, 15, 3)).astype(np.float32)


SEED = tf.constant([1, 2])


def test_penalties_are_sums(pictures: np.ndarray) -> None:
    np.testing.assert_allclose(L1(2.0)(pictures), 2 * np.abs(pictures).sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(L2(0.5)(pictures), (pictures**2).sum((1, 2, 3)) / 2, rtol=1e-5)
    total = tf.image.total_variation(tf.constant(pictures))
    np.testing.assert_allclose(TotalVariation2D(3.0)(pictures), 3 * total, rtol=0.03)


def test_sounds_have_variation_along_time_and_frequency(pictures: np.ndarray) -> None:
    sounds = pictures[..., 0]
    total = tf.image.total_variation(tf.constant(sounds[..., None]))
    np.testing.assert_allclose(TotalVariation2D(1.0)(sounds), total, rtol=0.03)


@pytest.mark.parametrize("places", [4, (0, 3), (3, 0)])
def test_jitter_moves_around(pictures: np.ndarray, places) -> None:
    down, across = (places, places) if isinstance(places, int) else places
    moved = [Jitter(places)(tf.constant(pictures), [0, n]).numpy() for n in range(60)]
    allowed = {
        (dy, dx): np.roll(pictures, (dy, dx), (1, 2))
        for dy in range(-down, down + 1)
        for dx in range(-across, across + 1)
    }
    seen = {
        move for each in moved for move, rolled in allowed.items() if np.array_equal(each, rolled)
    }
    assert all(any(np.array_equal(each, rolled) for rolled in allowed.values()) for each in moved)
    for axis, most in ((0, down), (1, across)):
        assert {min(m[axis] for m in seen), max(m[axis] for m in seen)} == {-most, most}


def test_turning_is_scipys(pictures: np.ndarray) -> None:
    inner = (slice(4, 8), slice(4, 11))  # away from the borders, which each fills in its own way
    draws = [tf.random.stateless_uniform([], SEED + n + 1, -30.0, 30.0).numpy() for n in range(3)]
    for n, angle in enumerate(draws):
        turned = Rotate2D(30)(tf.constant(pictures), SEED + n).numpy()
        wanted = ndimage.rotate(pictures[0], angle, reshape=False, order=1)
        np.testing.assert_allclose(turned[0][inner], wanted[inner], atol=1e-3)


def test_blur_is_scipys(pictures: np.ndarray) -> None:
    blurred = Blur(1.5)(tf.constant(pictures), SEED)
    wanted = ndimage.gaussian_filter(
        pictures, (0, 1.5, 1.5, 0), truncate=10 / 3, radius=(0, 5, 5, 0)
    )
    np.testing.assert_allclose(blurred, wanted, atol=1e-5)


def test_waves_start_with_a_spectrum_of_one_over_f() -> None:
    shape = (64, 64, 1)
    pictures = Fourier().inputs(tf.constant(Fourier().start(200, shape)), shape).numpy()
    values = np.log(pictures / (1 - pictures))[..., 0]  # before the sigmoid
    amplitudes = np.abs(np.fft.fft2(values)).mean(axis=0)
    frequencies = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    there = (frequencies > 0) & (frequencies < 0.45)
    slope, _ = np.polyfit(np.log(frequencies[there]), np.log(amplitudes[there]), 1)
    assert slope == pytest.approx(-1, abs=0.03)


def test_waves_make_any_size() -> None:
    for shape in ((7, 9, 3), (8, 6, 1)):
        made = Fourier().inputs(tf.constant(Fourier().start(2, shape)), shape)
        assert made.shape == (2, *shape)
