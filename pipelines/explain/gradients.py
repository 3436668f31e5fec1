"""The gradient of a class's logit on what a network reads, and a number of it for each position.

Logits, not scores: softmax lets a class rise by letting the others fall.
"""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.explain.network import Network

BATCH_SIZE = 16  # of inputs that are differentiated together


def gradients(
    network: Network, x: npt.NDArray | tf.Tensor, example: npt.NDArray, class_id: int
) -> npt.NDArray[np.float32]:
    """[B, ...] -> the same shape.

    Args:  x: as Network.embed gives it, all of the one example.
    """
    found = []
    for start in range(0, len(x), BATCH_SIZE):
        part = tf.convert_to_tensor(x[start : start + BATCH_SIZE])
        with tf.GradientTape() as tape:
            tape.watch(part)
            logits = network.logits(part, repeated(example, len(part)))[:, class_id]
        found.append(tape.gradient(logits, part).numpy())
    return np.concatenate(found)


def logits(
    network: Network, x: npt.NDArray | tf.Tensor, example: npt.NDArray, class_id: int
) -> npt.NDArray[np.float32]:
    """[B, ...] -> [B], without a gradient."""
    size = 4 * BATCH_SIZE
    parts = [x[start : start + size] for start in range(0, len(x), size)]
    found = [network.logits(part, repeated(example, len(part)))[:, class_id] for part in parts]
    return np.concatenate(found)


def repeated(example: npt.NDArray, count: int) -> npt.NDArray:
    return np.broadcast_to(example, (count, *example.shape))


def magnitude(network: Network, gradient: npt.NDArray) -> npt.NDArray[np.float32]:
    """The largest of a pixel's channels, a word's Euclidean length.  [..., C] -> [...]

    A spectrogram has no channels.
    """
    if network.domain == "audio":
        return np.abs(gradient)
    if network.domain == "text":
        return np.linalg.norm(gradient, axis=-1)
    return np.abs(gradient).max(axis=-1)


def summed(network: Network, attribution: npt.NDArray) -> npt.NDArray[np.float32]:
    """What all channels of a position add up to.  [..., C] -> [...]"""
    return attribution if network.domain == "audio" else attribution.sum(axis=-1)
