"""Batch normalisation: each channel's mean to 0 and deviation to 1, then to what training likes.

All axes but the last are the batch. In [B, H, W, C] that makes it the spatial form: each position
of each example counts as an example, and gamma and beta have an entry a channel.

Source:  Ioffe & Szegedy 2015, algorithms 1 and 2, arXiv 1502.03167.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Statistics(NamedTuple):
    mean: np.ndarray  # [C]
    variance: np.ndarray  # [C]


def batch_statistics(x: np.ndarray) -> Statistics:
    """With the biased variance, of which a batch is divided by m, and not m - 1."""
    rows = x.reshape(-1, x.shape[-1])
    return Statistics(rows.mean(axis=0), rows.var(axis=0))


def batch_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float = 1e-3
) -> tuple[np.ndarray, Callable]:
    """[..., C], [C], [C] -> [..., C], while training

    The way back goes the way there step by step, the other way round.

    Returns: y; back(dy) -> dx, dgamma, dbeta.
    """
    rows = x.reshape(-1, x.shape[-1])
    centred = rows - rows.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    deviation = np.sqrt(variance + epsilon)
    normal = centred / deviation
    y = gamma * normal + beta

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        drows = dy.reshape(rows.shape)
        dgamma, dbeta = (drows * normal).sum(axis=0), drows.sum(axis=0)
        dnormal = drows * gamma
        ddeviation = -(dnormal * centred).sum(axis=0) / deviation**2
        dvariance = ddeviation / (2 * deviation)
        dcentred = dnormal / deviation + dvariance * 2 * centred / len(rows)
        dmean = -dcentred.sum(axis=0)
        return (dcentred + dmean / len(rows)).reshape(x.shape), dgamma, dbeta

    return y.reshape(x.shape), back


def batch_norm_closed(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float = 1e-3
) -> tuple[np.ndarray, Callable]:
    """As `batch_norm`, with the steps of its way back simplified to one line.

    dx is gamma / deviation times dy, less its mean and less its part along `normal`: moving the
    whole batch, or stretching it, changes nothing.
    """
    mean, variance = batch_statistics(x)
    deviation = np.sqrt(variance + epsilon)
    normal = (x - mean) / deviation
    batch = tuple(range(x.ndim - 1))
    m = x.size / x.shape[-1]

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        dgamma, dbeta = (dy * normal).sum(axis=batch), dy.sum(axis=batch)
        return gamma / deviation * (dy - dbeta / m - normal * dgamma / m), dgamma, dbeta

    return gamma * normal + beta, back


def running(old: Statistics, batch: Statistics, momentum: float = 0.99) -> Statistics:
    """momentum * old + (1 - momentum) * batch, of mean and variance alike.

    As Keras 3, which keeps the biased variance. PyTorch and fused TensorFlow keep the unbiased one,
    times m / (m - 1), and PyTorch's `momentum` is the new one's part, 1 - this one.
    """
    return Statistics(*(momentum * a + (1 - momentum) * b for a, b in zip(old, batch, strict=True)))


def batch_norm_at_inference(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    statistics: Statistics,
    epsilon: float = 1e-3,
) -> tuple[np.ndarray, Callable]:
    """As `batch_norm`, with fixed statistics: no example is changed by those beside it."""
    deviation = np.sqrt(statistics.variance + epsilon)
    normal = (x - statistics.mean) / deviation
    batch = tuple(range(x.ndim - 1))

    def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return dy * gamma / deviation, (dy * normal).sum(axis=batch), dy.sum(axis=batch)

    return gamma * normal + beta, back
