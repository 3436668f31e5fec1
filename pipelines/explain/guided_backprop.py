"""Saliency of what excites alone: on the way back, each ReLU lets only rising through."""

from collections.abc import Callable

import numpy.typing as npt
import tensorflow as tf

from pipelines.explain.errors import ExplainError
from pipelines.explain.explanation import Explanation
from pipelines.explain.gradients import magnitude
from pipelines.explain.network import Network

RECTIFIERS = {"Relu": "TriptychGuidedRelu", "Relu6": "TriptychGuidedRelu6"}


@tf.RegisterGradient("TriptychGuidedRelu")
def _guided(operation: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    output = operation.outputs[0]
    return tf.where(output > 0, tf.nn.relu(gradient), 0.0)


@tf.RegisterGradient("TriptychGuidedRelu6")
def _guided6(operation: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    output = operation.outputs[0]
    return tf.where((output > 0) & (output < 6), tf.nn.relu(gradient), 0.0)


def guided_backprop(network: Network, example: npt.NDArray, class_id: int) -> Explanation:
    """The guided gradient's size at each position.

    It is sharp, and hardly depends on the weights or the class: it shows edges of the input more
    than what the network knows (Adebayo 2018, arXiv 1810.03292). The report's sanity check says so.

    Raises:  ExplainError if the network has no ReLU.
    Source:  Springenberg 2015, section 3.4, arXiv 1412.6806.
    """
    if guided_backprop not in network.memo:
        network.memo[guided_backprop] = _trace(network)
    guided = network.memo[guided_backprop]
    x = network.embed(example[None])
    (gradient,) = guided(x, tf.constant(example[None]), class_id).numpy()
    values = magnitude(network, gradient)
    return Explanation.of(network, example, class_id, "guided-backprop", values)


def _trace(network: Network) -> Callable:
    # A graph's operations can be told which gradient is theirs, whichever layer made them.
    @tf.function(reduce_retracing=True)
    def guided(x: tf.Tensor, examples: tf.Tensor, class_id: tf.Tensor) -> tf.Tensor:
        graph = tf.compat.v1.get_default_graph()
        with graph.gradient_override_map(RECTIFIERS):
            logits = network.logits(x, examples)
        if not any(operation.type in RECTIFIERS for operation in graph.get_operations()):
            raise ExplainError(
                f"{network.name} has no ReLU, so there is nothing to guide: take saliency"
            )
        return tf.gradients(tf.gather(logits, class_id, axis=1), x)[0]

    return guided
