"""Local response normalisation: a strong map quietens its neighbours."""

from collections.abc import Callable

import numpy as np


def local_response_norm(
    x: np.ndarray, radius: int = 2, bias: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> tuple[np.ndarray, Callable]:
    """[..., C] -> the same: x / (bias + alpha * the sum of squares)^beta

    The sum is over the 2 radius + 1 channels around, at the same position, and no others.

    Returns: y; back(dy) -> dx.
    Source:  Krizhevsky 2012, section 3.3.
    """
    channels = np.arange(x.shape[-1])
    near = (np.abs(channels[:, np.newaxis] - channels) <= radius).astype(x.dtype)  # [C, C]
    base = bias + alpha * (x**2 @ near)

    def back(dy: np.ndarray) -> np.ndarray:
        through_base = (-beta * dy * x * base ** (-beta - 1)) @ near
        return dy * base**-beta + through_base * 2 * alpha * x

    return x * base**-beta, back
