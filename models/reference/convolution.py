"""Convolution by its definition: at each position, each filter times what lies under it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from models.geometry import Padding
from models.reference.windows import Windows


def convolve(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[np.ndarray, Callable]:
    """[B, *size, C], [*kernel_size, C / groups, filters], [filters] -> [B, *positions, filters]

    Of g groups, filter f sees the channels of the group that it is in: the first filters / g
    see the first C / g channels.

    Returns: y; back(dy) -> dx, dkernel, dbias.
    Source:  Dumoulin & Visin 2016, chapter 2, arXiv 1603.07285. As in all networks, it is what
             mathematics calls correlation: the kernel is not turned.
    """
    windows = Windows.of_convolution(x.shape[1:-1], kernel.shape[:-2], stride, padding, dilation)
    bias = np.zeros(kernel.shape[-1]) if bias is None else bias
    padded = windows.pad(x)
    y = np.empty((len(x), *windows.positions, kernel.shape[-1]), np.result_type(x, kernel))

    def places() -> Iterator[tuple]:
        """(where in y, where in the padded x, which filter)"""
        for image in range(len(x)):
            for f, seen in enumerate(channels_seen(kernel.shape, groups)):
                for position, window in windows.each():
                    yield (image, *position, f), (image, *window, seen), f

    for there, here, f in places():
        y[there] = np.sum(padded[here] * kernel[..., f]) + bias[f]

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        dpadded, dkernel, dbias = (np.zeros_like(v) for v in (padded, kernel, bias))
        for there, here, f in places():
            dpadded[here] += dy[there] * kernel[..., f]
            dkernel[..., f] += dy[there] * padded[here]
            dbias[f] += dy[there]
        return windows.unpad(dpadded), dkernel, dbias

    return y, back


def channels_seen(kernel_shape: tuple[int, ...], groups: int) -> list[slice]:
    """The channels of the input that each filter sees."""
    *_, channels, filters = kernel_shape
    firsts = [f // (filters // groups) * channels for f in range(filters)]
    return [slice(first, first + channels) for first in firsts]


def depthwise(
    x: np.ndarray,
    kernel: np.ndarray,
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
) -> tuple[np.ndarray, Callable]:
    """[B, *size, C], [*kernel_size, C, m] -> [B, *positions, m C]: as many groups as channels.

    Returns: y; back(dy) -> dx, dkernel.
    """
    *size, channels, multiplier = kernel.shape
    grouped = kernel.reshape(*size, 1, channels * multiplier)
    y, grouped_back = convolve(x, grouped, None, stride, padding, dilation, groups=channels)

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dx, dgrouped, _ = grouped_back(dy)
        return dx, dgrouped.reshape(kernel.shape)

    return y, back
