"""Dropout: each number is kept or dropped by chance, so that none relies on another."""

from collections.abc import Callable

import numpy as np


def dropout(
    x: np.ndarray, rate: float, generator: np.random.Generator
) -> tuple[np.ndarray, Callable]:
    """[...] -> the same, while training; at inference there is nothing to do.

    Inverted: what is kept is divided by its probability, so that the expectation is x.

    Args:    rate: what is dropped, as in Keras; some texts' p is what is kept, 1 - rate.
    Returns: y; back(dy) -> dx, through the same mask.
    Source:  Srivastava 2014, section 10 (there weights are scaled after training instead).
    """
    scale = (generator.random(x.shape) >= rate) / (1 - rate)
    return x * scale, lambda dy: dy * scale
