"""Pooling: of each window of a channel its maximum, or its mean; and of all positions at once."""

from collections.abc import Callable

import numpy as np

from models.geometry import Padding
from models.reference.windows import Windows


def max_pool(
    x: np.ndarray,
    pool_size: int,
    stride: int | None = None,
    padding: Padding = "valid",
    ceil_mode: bool = False,
) -> tuple[np.ndarray, Callable]:
    """[B, *size, C] -> [B, *positions, C]

    The gradient goes to where the maximum was, and nowhere else; of equals, to the first, row by
    row, as TensorFlow does. Padding is lower than anything, so that it never wins.

    Returns: y; back(dy) -> dx.
    """
    windows = Windows.of_pooling(x.shape[1:-1], pool_size, stride or pool_size, padding, ceil_mode)
    padded = windows.pad(x, -np.inf)
    y = np.empty((len(x), *windows.positions, x.shape[-1]), x.dtype)
    for position, window in windows.each():
        y[:, *position] = _rows(padded[:, *window]).max(axis=1)

    def back(dy: np.ndarray) -> np.ndarray:
        dpadded = np.zeros(padded.shape, dy.dtype)
        for position, window in windows.each():
            values = _rows(padded[:, *window])
            first = values.argmax(axis=1)[:, np.newaxis]
            d = np.zeros(values.shape, dy.dtype)
            np.put_along_axis(d, first, dy[:, *position][:, np.newaxis], axis=1)
            dpadded[:, *window] += d.reshape(dpadded[:, *window].shape)
        return windows.unpad(dpadded)

    return y, back


def mean_pool(
    x: np.ndarray, pool_size: int, stride: int | None = None, padding: Padding = "valid"
) -> tuple[np.ndarray, Callable]:
    """[B, *size, C] -> [B, *positions, C]

    The gradient is shared out evenly: 1 / m of it to each of the m numbers of a window. Padding is
    not one of them, as in TensorFlow; Caffe and PyTorch count it.

    Returns: y; back(dy) -> dx.
    """
    windows = Windows.of_pooling(x.shape[1:-1], pool_size, stride or pool_size, padding)
    padded = windows.pad(x)
    real = windows.pad(np.ones((1, *x.shape[1:-1], 1), x.dtype))
    y = np.empty((len(x), *windows.positions, x.shape[-1]), x.dtype)
    for position, window in windows.each():
        y[:, *position] = _rows(padded[:, *window]).sum(axis=1) / real[0, *window].sum()

    def back(dy: np.ndarray) -> np.ndarray:
        dpadded = np.zeros(padded.shape, dy.dtype)
        for position, window in windows.each():
            share = dy[:, *position] / real[0, *window].sum()
            ones = (1,) * len(windows.positions)
            dpadded[:, *window] += share.reshape(len(x), *ones, -1)
        return windows.unpad(dpadded)

    return y, back


def global_mean(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    """[B, *size, C] -> [B, C]; back(dy) -> dx"""
    count = np.prod(x.shape[1:-1])
    ones = (1,) * (x.ndim - 2)

    def back(dy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(dy.reshape(len(x), *ones, -1) / count, x.shape)

    return _rows(x).mean(axis=1), back


def global_max(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    """[B, *size, C] -> [B, C]; back(dy) -> dx, shared out evenly among equals.

    Differs: from `max_pool`, and so do TensorFlow's two operators from one another.
    """
    rows = _rows(x)
    y = rows.max(axis=1)
    winners = rows == y[:, np.newaxis]

    def back(dy: np.ndarray) -> np.ndarray:
        shares = winners / winners.sum(axis=1, keepdims=True)
        return (shares * dy[:, np.newaxis]).reshape(x.shape)

    return y, back


def _rows(x: np.ndarray) -> np.ndarray:
    """[B, *size, C] -> [B, positions, C]"""
    return x.reshape(len(x), -1, x.shape[-1])
