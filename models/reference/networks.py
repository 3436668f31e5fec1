"""Two small networks of CS231n, made of the layers here: any depth of affine ones; a convolutional.

A network has `weights` by name, `scores(x)` and `loss(x, labels) -> loss, gradients by name`.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from models.reference.activations import relu
from models.reference.affine import affine
from models.reference.batch_norm import (
    Statistics,
    batch_norm,
    batch_norm_at_inference,
    batch_statistics,
    running,
)
from models.reference.dropout import dropout
from models.reference.im2col import convolve
from models.reference.losses import softmax_loss, weight_decay
from models.reference.pooling import max_pool

MOMENTUM = 0.9  # of the running statistics

Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


class AffineNetwork:
    """[affine, batch norm?, ReLU, dropout?] for each of `hidden`, affine.  [B, ...] -> [B, K]

    Args:    inputs: numbers of an example; hidden: units of each hidden layer, of one for the
             two-layer network; weight_scale: the deviation of the weights at the start, None for
             sqrt(2 / fan in) (He 2015, arXiv 1502.01852); decay: strength of the L2 loss.
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        num_classes: int,
        weight_scale: float | None = None,
        decay: float = 0.0,
        normalise: bool = False,
        dropout_rate: float = 0.0,
        loss: Loss = softmax_loss,
        seed: int = 0,
        dtype: type = np.float64,
    ):
        self.decay, self.normalise, self.dropout_rate = decay, normalise, dropout_rate
        self.score_loss = loss
        self.generator = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}
        self.statistics = {}
        self.depth = len(hidden) + 1
        widths = (inputs, *hidden, num_classes)
        for layer in range(self.depth):
            shape = widths[layer], widths[layer + 1]
            self.weights[f"w{layer}"] = _start(self.generator, shape, weight_scale).astype(dtype)
            self.weights[f"b{layer}"] = np.zeros(shape[1], dtype)
            if normalise and layer < len(hidden):
                self.weights[f"gamma{layer}"] = np.ones(shape[1], dtype)
                self.weights[f"beta{layer}"] = np.zeros(shape[1], dtype)
                self.statistics[layer] = Statistics(np.zeros(shape[1]), np.ones(shape[1]))

    def scores(self, x: np.ndarray) -> np.ndarray:
        return self._forward(x, training=False)[0]

    def loss(self, x: np.ndarray, labels: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        scores, back = self._forward(x, training=True)
        loss, dscores = self.score_loss(scores, labels)
        return _decayed(self, loss, back(dscores))

    def _forward(self, x: np.ndarray, training: bool) -> tuple[np.ndarray, Callable]:
        backs = []

        def through(layer: Callable, names: tuple[str, ...] = ()) -> None:
            nonlocal x
            x, back = layer(x, *(self.weights[name] for name in names))
            backs.append((back, names))

        for layer in range(self.depth):
            through(affine, (f"w{layer}", f"b{layer}"))
            if layer == self.depth - 1:
                break
            if self.normalise:
                norm = self._norm(layer, x, training)
                through(norm, (f"gamma{layer}", f"beta{layer}"))
            through(relu)
            if self.dropout_rate and training:
                through(partial(dropout, rate=self.dropout_rate, generator=self.generator))
        return x, partial(_gradients, backs)

    def _norm(self, layer: int, x: np.ndarray, training: bool) -> Callable:
        if not training:
            return partial(batch_norm_at_inference, statistics=self.statistics[layer])
        old = self.statistics[layer]
        self.statistics[layer] = running(old, batch_statistics(x), MOMENTUM)
        return batch_norm


class ThreeLayerConvNet:
    """Convolution, ReLU, 2x2 max pool, affine, ReLU, affine.  [B, H, W, C] -> [B, K]

    Args:    shape: [H, W, C] of an example, H and W even; the others as of `AffineNetwork`.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        filters: int = 32,
        kernel_size: int = 7,
        hidden: int = 100,
        weight_scale: float | None = None,
        decay: float = 0.0,
        seed: int = 0,
        dtype: type = np.float64,
    ):
        self.decay = decay
        height, width, channels = shape
        pooled = height // 2 * (width // 2) * filters
        shapes = (kernel_size, kernel_size, channels, filters), (pooled, hidden)
        generator = np.random.default_rng(seed)
        self.weights = {}
        for layer, size in enumerate((*shapes, (hidden, num_classes))):
            self.weights[f"w{layer}"] = _start(generator, size, weight_scale).astype(dtype)
            self.weights[f"b{layer}"] = np.zeros(size[-1], dtype)

    def scores(self, x: np.ndarray) -> np.ndarray:
        return self._forward(x)[0]

    def loss(self, x: np.ndarray, labels: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        scores, back = self._forward(x)
        loss, dscores = softmax_loss(scores, labels)
        return _decayed(self, loss, back(dscores))

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Callable]:
        layers = (
            (partial(convolve, padding="same"), ("w0", "b0")),
            (relu, ()),
            (partial(max_pool, pool_size=2), ()),
            (affine, ("w1", "b1")),
            (relu, ()),
            (affine, ("w2", "b2")),
        )
        backs = []
        for layer, names in layers:
            x, back = layer(x, *(self.weights[name] for name in names))
            backs.append((back, names))
        return x, partial(_gradients, backs)


def _start(
    generator: np.random.Generator, shape: tuple[int, ...], scale: float | None
) -> np.ndarray:
    fan_in = np.prod(shape[:-1])
    return generator.normal(0, np.sqrt(2 / fan_in) if scale is None else scale, shape)


def _gradients(
    backs: list[tuple[Callable, tuple[str, ...]]], dy: np.ndarray
) -> dict[str, np.ndarray]:
    """The chain rule: each layer's way back, from the last to the first."""
    found = {}
    for back, names in reversed(backs):
        d = back(dy)
        dy, *own = d if names else (d,)
        found.update(zip(names, own, strict=True))
    return found


def _decayed(
    network: AffineNetwork | ThreeLayerConvNet, loss: float, found: dict[str, np.ndarray]
) -> tuple[float, dict[str, np.ndarray]]:
    """With the L2 loss of all matrices and kernels; biases, gammas and betas are left free."""
    for name, weight in network.weights.items():
        if name.startswith("w"):
            more, d = weight_decay(weight, network.decay)
            loss, found[name] = loss + more, found[name] + d
    return loss, found
