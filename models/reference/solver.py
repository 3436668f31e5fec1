"""Training: batches in a new order each epoch, a step for each weight after each of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.reference.networks import AffineNetwork, ThreeLayerConvNet
from models.reference.optimisers import Step, sgd


class History(NamedTuple):
    losses: list[float]  # of each step
    accuracies: list[float]  # on the first thousand training examples, after each epoch


def solve(
    network: AffineNetwork | ThreeLayerConvNet,
    x: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    learning_rate: float,
    optimiser: Callable[[], Step] = sgd,
    batch_size: int = 50,
    rate_decay: float = 1.0,
    seed: int = 0,
) -> History:
    """Changes the network's weights.

    Args:    rate_decay: times the learning rate after each epoch.
    """
    generator = np.random.default_rng(seed)
    steps = {name: optimiser() for name in network.weights}
    history = History([], [])
    for _ in range(epochs):
        order = generator.permutation(len(x))
        for first in range(0, len(x), batch_size):
            batch = order[first : first + batch_size]
            loss, gradients = network.loss(x[batch], labels[batch])
            history.losses.append(loss)
            for name, step in steps.items():
                weight = step(network.weights[name], gradients[name], learning_rate)
                network.weights[name] = weight
        learning_rate *= rate_decay
        history.accuracies.append(accuracy(network, x[:1000], labels[:1000]))
    return history


def accuracy(
    network: AffineNetwork | ThreeLayerConvNet,
    x: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 500,
) -> float:
    right = 0
    for first in range(0, len(x), batch_size):
        batch = slice(first, first + batch_size)
        right += int((network.scores(x[batch]).argmax(axis=1) == labels[batch]).sum())
    return right / len(x)
