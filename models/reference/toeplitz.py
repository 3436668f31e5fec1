"""Convolution as a sparse matrix: a fully connected layer, most of whose weights are nothing.

A row is a number of the output, a column one of the input; the kernel stands in each row, moved on.
So a convolution is a fully connected layer that was pruned (each row has a kernel's entries alone)
and whose rows share their weights. The matrix's transpose is transposed convolution, and
convolution's gradient.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from models.geometry import Padding
from models.reference.convolution import channels_seen
from models.reference.windows import Windows


def toeplitz(
    kernel: np.ndarray,
    size: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> csr_array:
    """[*kernel_size, C / groups, filters] -> [positions * filters, size * C]

    `toeplitz(kernel, x.shape[1:-1], ...) @ x[0].ravel()` is `convolve(x, kernel, ...)` for one
    example. Along one axis, with one channel and stride 1, each diagonal has one value: a Toeplitz
    matrix.
    """
    windows = Windows.of_convolution(size, kernel.shape[:-2], stride, padding, dilation)
    seen = channels_seen(kernel.shape, groups)
    channels = groups * kernel.shape[-2]
    # The number of each entry of the input; -1 in the padding, where nothing is to multiply.
    numbers = np.arange(np.prod(size) * channels).reshape(1, *size, channels)
    numbers = windows.pad(numbers, -1)[0]
    rows, columns, values = [], [], []
    for position, window in windows.each():
        for f in range(kernel.shape[-1]):
            row = np.ravel_multi_index((*position, f), (*windows.positions, kernel.shape[-1]))
            under = numbers[*window, seen[f]].ravel()
            real = under >= 0
            rows += [row] * real.sum()
            columns += list(under[real])
            values += list(kernel[..., f].ravel()[real])
    shape = np.prod(windows.positions) * kernel.shape[-1], np.prod(size) * channels
    return csr_array((values, (rows, columns)), shape=shape)
