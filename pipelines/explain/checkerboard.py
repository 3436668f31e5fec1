"""The checkerboard of transposed convolutions, and two ways to have none.

A kernel that the stride doesn't divide reaches some places more often than their neighbours.
Source:  Odena 2016, "Deconvolution and Checkerboard Artifacts", doi 10.23915/distill.00003.
"""

from collections.abc import Callable
from typing import Literal

import keras
import numpy as np
from keras import layers

Way = Literal["transposed", "resize"]


def overlap(size: int, kernel_size: int, stride: int) -> np.ndarray:
    """How often each place of a transposed convolution's output is written to.

    By arithmetic, along one axis, nothing cut off.  [(size - 1) * stride + kernel_size]
    """
    counts = np.zeros((size - 1) * stride + kernel_size, int)
    for place in range(size):
        counts[place * stride : place * stride + kernel_size] += 1
    return counts


def upsampling(
    filters: int, kernel_size: int, stride: int = 2, way: Way = "transposed", **options
) -> Callable:
    """What makes a map `stride` times as large.  [B, H, W, C] -> [B, sH, sW, filters]

    Args:    way: "transposed" convolution, free of checkerboards if the stride divides the
             kernel's size; or "resize" to the nearest neighbour and then convolve, which always is.
    """
    if way == "transposed":
        options = {"strides": stride, "padding": "same", **options}
        return layers.Conv2DTranspose(filters, kernel_size, **options)
    convolve = layers.Conv2D(filters, kernel_size, padding="same", **options)
    return keras.Sequential([layers.UpSampling2D(stride, interpolation="nearest"), convolve])


def unevenness(picture: np.ndarray, border: int) -> float:
    """How much a plain input's picture varies: its deviation over its mean size, border left out.

    Args:    picture: [H, W, C]; border: places at each side, where padding is seen.
    """
    inner = picture[border:-border, border:-border]
    return float(inner.std(axis=(0, 1)).mean() / np.abs(inner).mean())
