"""What a position of a map sees of the input: by its gradient, beside models/receptive.py's."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf


def input_gradients(
    features: Callable[[tf.Tensor], tf.Tensor], examples: np.ndarray, position: Sequence[int]
) -> np.ndarray:
    """Of one position of a map, all its filters together: |gradient|.  [B, H, W, C] -> [B, H, W]

    Args:    features: examples -> [B, h, w, C]; position: (y, x) in the map.
    """
    inputs = tf.constant(examples, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = features(inputs)
        place = outputs[(slice(None), *position)]
        # Signs by chance, so that filters that see one thing alike don't cancel each other.
        signs = np.random.default_rng(0).normal(size=place.shape[-1]).astype(np.float32)
        value = tf.reduce_sum(place * signs)
    gradient = tf.abs(tape.gradient(value, inputs)).numpy()
    return gradient.sum(axis=tuple(range(3, gradient.ndim))) if gradient.ndim > 3 else gradient


def footprint(
    features: Callable[[tf.Tensor], tf.Tensor], examples: np.ndarray, position: Sequence[int]
) -> np.ndarray:
    """Whatever any of the examples shows that the position sees.  bool [H, W]

    It grows with the examples: a maximum, or a ReLU, hides from one what another shows. With
    average_pooling.py's network, few are enough.
    """
    return (input_gradients(features, examples, position) > 0).any(axis=0)


def effective(
    features: Callable[[tf.Tensor], tf.Tensor], examples: np.ndarray, position: Sequence[int]
) -> np.ndarray:
    """How much each place of the input counts, its shares adding up to 1.  [H, W]

    Source:  Luo 2016, section 2, arXiv 1701.04128: it is far smaller than the field, and in the
             limit of many layers a Gaussian.
    """
    mean = input_gradients(features, examples, position).mean(axis=0)
    return mean / mean.sum()


def spread(shares: np.ndarray) -> tuple[float, float]:
    """The standard deviation of an effective field along (y, x), in pixels."""
    deviations = []
    for axis in (1, 0):
        line = shares.sum(axis=axis)
        places = np.arange(len(line))
        mean = (line * places).sum()
        deviations.append(float(np.sqrt((line * (places - mean) ** 2).sum())))
    return deviations[0], deviations[1]
