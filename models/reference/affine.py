"""The fully connected layer: a matrix product and a bias."""

from collections.abc import Callable

import numpy as np


def affine(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, Callable]:
    """[B, ...] @ [D, units] + [units] -> [B, units]; what an example has is flattened to D

    Returns: y; back(dy) -> dx, dweights, dbias.
    """
    flat = x.reshape(len(x), -1)

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (dy @ weights.T).reshape(x.shape), flat.T @ dy, dy.sum(axis=0)

    return flat @ weights + bias, back
