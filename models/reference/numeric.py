"""A gradient from the definition, to hold one against that was derived."""

from collections.abc import Callable

import numpy as np

STEP = 1e-5  # in float64: the error of the difference and that of rounding are both about 1e-10


def numeric_gradient(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """(f(x + h) - f(x - h)) / 2h for each number of x.

    Right where f is smooth within h: no ReLU's kink, no two values about to change their order.
    """
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        beyond = x.copy()
        beyond[place] += STEP
        before = x.copy()
        before[place] -= STEP
        gradient[place] = (function(beyond) - function(before)) / (2 * STEP)
    return gradient


def relative_error(one: np.ndarray, other: np.ndarray) -> float:
    """|one - other| / (|one| + |other|), with the lengths of the whole arrays; 0 if both are 0."""
    length = np.linalg.norm(one) + np.linalg.norm(other)
    return float(np.linalg.norm(one - other) / length) if length else 0.0
