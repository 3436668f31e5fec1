"""What of an input excited a filter: its activation, sent back through the layers (deconvnet)."""

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

RECTIFIERS = {"Relu": "TriptychDeconvnetRelu", "Relu6": "TriptychDeconvnetRelu"}


@tf.RegisterGradient("TriptychDeconvnetRelu")
def _rectified(operation: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(gradient)


def deconvnet(
    model: keras.Model, examples: npt.NDArray, units: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """The strongest activation of a filter alone, back on the input.  [B, ...] -> the same shape

    On the way back a convolution is its transpose, a max pool puts each number where its maximum
    was, and a ReLU lets through what is positive there: unlike a gradient's, it doesn't ask where
    the ReLU was on.

    Args:    model: inputs -> a layer's output [B, ..., C]; units: a filter for each input.
    Source:  Zeiler & Fergus 2014, section 2.1, arXiv 1311.2901.
    """
    return _traced(model, units)(tf.constant(examples, tf.float32)).numpy()


def _traced(model: keras.Model, units: tuple[int, ...]) -> Callable[[tf.Tensor], tf.Tensor]:
    # A graph's operations can be told which gradient is theirs, whichever layer made them.
    @tf.function
    def back(inputs: tf.Tensor) -> tf.Tensor:
        with tf.compat.v1.get_default_graph().gradient_override_map(RECTIFIERS):
            outputs = model(inputs, training=False)
        numbers = tf.reshape(outputs, [len(units), -1, outputs.shape[-1]])
        maps = tf.gather(numbers, tf.constant(units), axis=2, batch_dims=1)  # [B, places]
        # Of ½ a² the gradient is a itself: what goes back is the activation.
        strongest = tf.reduce_max(maps, axis=1)
        first = tf.stop_gradient(strongest)
        return tf.gradients(first * strongest, inputs)[0]

    return back
