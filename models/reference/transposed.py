"""Transposed convolution: the way back of convolution's gradient, taken forward."""

from collections.abc import Callable

import numpy as np

from models.geometry import Padding, transposed
from models.reference.convolution import convolve


def transposed_convolve(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int = 1,
    padding: Padding = "valid",
    dilation: int = 1,
    output_padding: int | None = None,
) -> tuple[np.ndarray, Callable]:
    """[B, *size, C], [*kernel_size, filters, C], [filters] -> [B, *larger size, filters]

    Each number of the input lays down the kernel, times itself, `stride` from the next; where
    kernels overlap they add up. It has the shape that a convolution with this kernel would have
    started from, and not the values: it is no inverse.

    Args:    output_padding: as of `geometry.transposed`.
    Returns: y; back(dy) -> dx, dkernel, dbias.
    Source:  Dumoulin & Visin 2016, chapter 4, arXiv 1603.07285.
    """
    *kernel_size, filters, _ = kernel.shape
    larger = [
        transposed(n, k, stride, padding, dilation, output_padding)
        for n, k in zip(x.shape[1:-1], kernel_size, strict=True)
    ]
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    _, lay_down = convolve(np.zeros((len(x), *larger, filters)), kernel, **options)
    y, _, _ = lay_down(x)
    if bias is not None:
        y = y + bias

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        dx, convolve_back = convolve(dy, kernel, **options)
        _, dkernel, _ = convolve_back(x)
        return dx, dkernel, dy.reshape(-1, filters).sum(axis=0)

    return y, back
