"""Where transposed convolutions write twice, and what doesn't."""

import keras
import numpy as np
import pytest

from pipelines.explain.checkerboard import overlap, unevenness, upsampling

PLAIN = np.ones((1, 12, 12, 1), np.float32)


def made(way: str, kernel_size: int, kernel: str = "ones", layers: int = 1) -> np.ndarray:
    keras.utils.set_random_seed(0)
    x = PLAIN
    for _ in range(layers):
        x = upsampling(1, kernel_size, way=way, kernel_initializer=kernel, use_bias=False)(x)
    return np.asarray(x)[0]


@pytest.mark.parametrize(("size", "kernel_size", "stride"), [(7, 3, 2), (5, 4, 2), (6, 5, 3)])
def test_the_overlap_is_a_sum_of_kernels(size: int, kernel_size: int, stride: int) -> None:
    spaced = np.zeros((size - 1) * stride + 1, int)
    spaced[::stride] = 1
    wanted = np.convolve(spaced, np.ones(kernel_size, int))
    np.testing.assert_array_equal(overlap(size, kernel_size, stride), wanted)


def test_a_kernel_of_3_at_stride_2_makes_a_checkerboard() -> None:
    picture = made("transposed", 3)
    assert picture.shape == (24, 24, 1)
    assert {1.0, 2.0, 4.0} == set(np.unique(picture[4:-4, 4:-4]))
    assert unevenness(picture, 4) == pytest.approx(0.47, abs=0.02)  # of 1, 2, 2, 4: 1.09 / 2.25


def test_it_is_cured_by_a_kernel_that_the_stride_divides() -> None:
    assert unevenness(made("transposed", 4), 4) == 0
    assert unevenness(made("transposed", 4, layers=2), 8) == 0


@pytest.mark.parametrize("kernel", ["ones", "glorot_normal"])
@pytest.mark.parametrize("kernel_size", [3, 4])
def test_it_is_cured_by_resizing_first_whatever_the_weights(kernel, kernel_size) -> None:
    assert made("resize", kernel_size, kernel).shape == (24, 24, 1)
    assert unevenness(made("resize", kernel_size, kernel, layers=2), 12) < 1e-6


def test_layers_on_top_make_it_worse() -> None:
    assert unevenness(made("transposed", 3, layers=2), 8) > unevenness(made("transposed", 3), 8)
