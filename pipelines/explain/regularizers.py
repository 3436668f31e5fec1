"""What keeps a synthetic input plain: penalties on a batch of them, [B, ...] -> [B].

Names as in tf-keras-vis. All are sums over an input, as is a filter's degree of activation.
"""

from dataclasses import dataclass

import tensorflow as tf

SMOOTH = 0.02  # of a range of 1: five grey levels


@dataclass(frozen=True)
class L1:
    """weight * sum |x|: few numbers other than 0."""

    weight: float

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        # The slope at 0 is 1, not tf.abs's 0: black is as far down as a picture goes, and what is
        # worth less than it costs shall stay there.
        return self.weight * _total(tf.where(inputs < 0, -inputs, inputs))


@dataclass(frozen=True)
class L2:
    """weight * sum x²: no large numbers."""

    weight: float

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.weight * _total(tf.square(inputs))


@dataclass(frozen=True)
class TotalVariation2D:
    """weight * sum |x - its neighbour| along the first two axes: plain areas, sharp edges.

    Source:  Rudin 1992, doi 10.1016/0167-2789(92)90242-F, in the form of tf.image.total_variation.
    Differs: round at 0 within `SMOOTH`, or no step would pay where neighbours are alike.
    """

    weight: float

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        down, across = inputs[:, 1:] - inputs[:, :-1], inputs[:, :, 1:] - inputs[:, :, :-1]
        return self.weight * (_total(_smooth(down)) + _total(_smooth(across)))


def _smooth(values: tf.Tensor) -> tf.Tensor:
    """|x|, and a parabola near 0."""
    return tf.sqrt(tf.square(values) + SMOOTH**2) - SMOOTH


def _total(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, list(range(1, len(values.shape))))
