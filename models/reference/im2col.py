"""Convolution as one matrix product: each window of the input becomes a row of a matrix.

A number that several windows cover is there several times: memory for speed, since matrix products
are what machines do best. As Caffe does it, whose channels come first; here they come last, so that
a row holds the window position by position, and channel by channel in each.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.geometry import Padding, extent
from models.reference.windows import Windows


def im2col(x: np.ndarray, windows: Windows) -> np.ndarray:
    """[B, *size, C] -> [B * positions, kernel_size * C], the products of all axes' sizes"""
    axes = len(windows.kernel_size)
    covered = tuple(map(extent, windows.kernel_size, windows.dilations))
    views = sliding_window_view(windows.pad(x), covered, axis=tuple(range(1, 1 + axes)))
    steps = [slice(None, None, step) for step in (*windows.strides, *windows.dilations)]
    columns = np.moveaxis(views[:, *steps[:axes], :, *steps[axes:]], 1 + axes, -1)
    return columns.reshape(len(x) * math.prod(windows.positions), -1)


def col2im(matrix: np.ndarray, windows: Windows, shape: tuple[int, ...]) -> np.ndarray:
    """im2col's adjoint, <im2col x, y> = <x, col2im y>: what windows share is added up.

    Args:    shape: of the x, [B, *size, C].
    """
    columns = matrix.reshape(shape[0], *windows.positions, *windows.kernel_size, shape[-1])
    padded = windows.pad(np.zeros(shape, matrix.dtype))
    behind = (slice(None),) * (1 + len(windows.positions))
    for offset, under in windows.offsets():
        padded[:, *under] += columns[*behind, *offset]
    return windows.unpad(padded)


def convolve(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[np.ndarray, Callable]:
    """As `convolution.convolve`, by a product [B * positions, k] @ [k, filters] for each group."""
    windows = Windows.of_convolution(x.shape[1:-1], kernel.shape[:-2], stride, padding, dilation)
    parts = np.split(x, groups, axis=-1)
    rows = [im2col(part, windows) for part in parts]
    matrices = [part.reshape(-1, part.shape[-1]) for part in np.split(kernel, groups, axis=-1)]
    y = np.concatenate([r @ m for r, m in zip(rows, matrices, strict=True)], axis=-1)
    y = y if bias is None else y + bias

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        flat = dy.reshape(-1, kernel.shape[-1])
        dys = np.split(flat, groups, axis=-1)
        dmatrices = [r.T @ d for r, d in zip(rows, dys, strict=True)]
        drows = [d @ m.T for d, m in zip(dys, matrices, strict=True)]
        dx = [col2im(d, windows, part.shape) for d, part in zip(drows, parts, strict=True)]
        dkernel = np.concatenate(dmatrices, axis=-1).reshape(kernel.shape)
        return np.concatenate(dx, axis=-1), dkernel, flat.sum(axis=0)

    return y.reshape(len(x), *windows.positions, -1), back
