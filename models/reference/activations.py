"""Functions of single numbers, and of a vector's: each with its derivative.

All are [...] -> the same; back(dy) -> dx.
"""

from collections.abc import Callable

import numpy as np


def relu(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    """At 0, where there is no derivative, it is taken from the left: 0, as TensorFlow does."""
    return np.maximum(x, 0), lambda dy: dy * (x > 0)


def relu6(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    return np.clip(x, 0, 6), lambda dy: dy * ((x > 0) & (x < 6))


def sigmoid(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    y = 1 / (1 + np.exp(-x))
    return y, lambda dy: dy * y * (1 - y)


def tanh(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    y = np.tanh(x)
    return y, lambda dy: dy * (1 - y**2)


def hard_sigmoid(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    """relu6(x + 3) / 6.  Howard 2019, section 5.2, arXiv 1905.02244"""
    y, back = relu6(x + 3)
    return y / 6, lambda dy: back(dy / 6)


def hard_swish(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    """x relu6(x + 3) / 6.  Howard 2019, section 5.2, arXiv 1905.02244"""
    gate, back = hard_sigmoid(x)
    return x * gate, lambda dy: dy * gate + back(dy * x)


def swish(x: np.ndarray) -> tuple[np.ndarray, Callable]:
    """x sigmoid(x).  Ramachandran 2017, arXiv 1710.05941"""
    gate, back = sigmoid(x)
    return x * gate, lambda dy: dy * gate + back(dy * x)


def softmax(x: np.ndarray, axis: int = -1) -> tuple[np.ndarray, Callable]:
    e = np.exp(x - x.max(axis, keepdims=True))
    y = e / e.sum(axis, keepdims=True)
    return y, lambda dy: y * (dy - (dy * y).sum(axis, keepdims=True))
