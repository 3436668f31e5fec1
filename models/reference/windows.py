"""Where a kernel or a pool lies on its input: each position, and what it covers there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.geometry import Padding, convolved, edges, extent, pooled


@dataclass(frozen=True)
class Windows:
    """Of a kernel that moves along all axes between the batch and the channels.

    A window is a slice of the padded input for each axis. Strides, zeros and holes are the same
    along all axes, or one number for each of them.
    """

    positions: tuple[int, ...]  # how many along each axis
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]  # zeros before and after

    @classmethod
    def of_convolution(
        cls,
        size: Sequence[int],
        kernel_size: Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = "valid",
        dilation: int | Sequence[int] = 1,
    ) -> "Windows":
        strides, dilations = _axes(stride, len(size)), _axes(dilation, len(size))
        axes = list(zip(size, kernel_size, strides, dilations, strict=True))
        return cls(
            tuple(convolved(n, k, s, padding, d) for n, k, s, d in axes),
            tuple(kernel_size),
            strides,
            dilations,
            tuple(edges(n, k, s, padding, d) for n, k, s, d in axes),
        )

    @classmethod
    def of_pooling(
        cls,
        size: Sequence[int],
        pool_size: int,
        stride: int,
        padding: Padding = "valid",
        ceil_mode: bool = False,
    ) -> "Windows":
        """With ceil_mode, the last window hangs over the padded input and is cut off there."""
        positions = tuple(pooled(n, pool_size, stride, padding, ceil_mode) for n in size)
        return cls(
            positions,
            (pool_size,) * len(size),
            (stride,) * len(size),
            (1,) * len(size),
            tuple(edges(n, pool_size, stride, padding) for n in size),
        )

    def each(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """(position, window), row by row."""
        for position in np.ndindex(*self.positions):
            yield (
                position,
                tuple(map(_window, position, self.kernel_size, self.strides, self.dilations)),
            )

    def offsets(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """(place in the kernel, what lies under it over all positions), row by row."""
        for offset in np.ndindex(*self.kernel_size):
            yield offset, tuple(map(_under, offset, self.positions, self.strides, self.dilations))

    def pad(self, x: np.ndarray, value: float = 0.0) -> np.ndarray:
        return np.pad(x, ((0, 0), *self.edges, (0, 0)), constant_values=value)

    def unpad(self, padded: np.ndarray) -> np.ndarray:
        inside = (
            slice(before, size - after)
            for (before, after), size in zip(self.edges, padded.shape[1:], strict=False)
        )
        return padded[:, *inside]


def _window(position: int, kernel_size: int, stride: int, dilation: int) -> slice:
    start = position * stride
    return slice(start, start + extent(kernel_size, dilation), dilation)


def _under(offset: int, positions: int, stride: int, dilation: int) -> slice:
    start = offset * dilation
    return slice(start, start + (positions - 1) * stride + 1, stride)


def _axes(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)
