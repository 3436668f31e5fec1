"""Grad-CAM and Grad-CAM++: a layer's maps, weighted by what the class's logit owes them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.explain.enlarge import enlarger
from pipelines.explain.errors import ExplainError
from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network

# [positions, C] of a layer's maps, and of the gradient on them -> a weight for each map.
Weigh = Callable[[npt.NDArray, npt.NDArray], npt.NDArray]


def grad_cam(
    network: Network, example: npt.NDArray, class_id: int, layer: str | None = None
) -> Explanation:
    """The maps' weight is the gradient's mean over their positions; what speaks against is cut off.

    On a network that ends in a mean and one fully connected layer it is CAM, divided by the number
    of positions.

    Args:    layer: by default the last one with positions, or all of the last parallel ones.
    Raises:  ExplainError for a layer that isn't there or has no positions.
    Source:  Selvaraju 2017, section 3, equations 1 and 2, arXiv 1610.02391.
    """
    return _explain(network, example, class_id, layer, "grad-cam", lambda _, g: g.mean(axis=0))


def grad_cam_plus_plus(
    network: Network, example: npt.NDArray, class_id: int, layer: str | None = None
) -> Explanation:
    """As Grad-CAM, but positions count by how much they matter: several objects are all shown.

    Source:  Chattopadhyay 2018, section 3.2, equations 10 and 19, arXiv 1710.11063.
    """
    return _explain(network, example, class_id, layer, "grad-cam++", plus_plus_weights)


def plus_plus_weights(maps: npt.NDArray, gradient: npt.NDArray) -> npt.NDArray:
    square, cube = gradient**2, gradient**3
    below = 2 * square + maps.sum(axis=0) * cube
    alpha = np.divide(square, below, out=np.zeros_like(below), where=below != 0)
    return (alpha * np.maximum(gradient, 0)).sum(axis=0)


def with_positions(network: Network, layer: str | None) -> tuple[str, ...]:
    """The layers to look at.  Raises: ExplainError."""
    if layer is None:
        return network.last_maps or (network.last_conv,)
    if network.layer(layer).ndim < 3:
        raise ExplainError(
            f"layer {layer!r} of {network.name} has no positions left to be shown: take one before"
            f" it, as {network.last_conv!r}"
        )
    return (layer,)


def _explain(
    network: Network,
    example: npt.NDArray,
    class_id: int,
    layer: str | None,
    method: str,
    weigh: Weigh,
) -> Explanation:
    names = with_positions(network, layer)
    with tf.GradientTape() as tape:
        examples = tf.convert_to_tensor(example[None])
        if examples.dtype.is_floating:
            tape.watch(examples)  # so that a network without weights is recorded, too
        *maps, logits = network.features(*names)(examples, training=False)
        logit = logits[0, class_id]
    found = tape.gradient(logit, maps, unconnected_gradients="zero")
    coarse, values = [], []
    for name, each, gradient in zip(names, maps, found, strict=True):
        activation, slope = (x.numpy()[0].astype(np.float64) for x in (each, gradient))
        channels = activation.shape[-1]
        weights = weigh(activation.reshape(-1, channels), slope.reshape(-1, channels))
        coarse.append(activation @ weights)
        values.append(enlarger(network, name, example.shape)(coarse[-1]))
    return Explanation.of(
        network,
        example,
        class_id,
        method,
        np.maximum(np.sum(values, axis=0), 0),
        layer=" + ".join(names),
        coarse=np.maximum(np.sum(coarse, axis=0), 0).astype(np.float32),
    )
