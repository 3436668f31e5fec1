"""Class activation maps: where the last features are that the class is weighted by."""

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from models.graph import Step
from pipelines.explain.enlarge import enlarger
from pipelines.explain.errors import ExplainError
from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network

THROUGH = (layers.Dropout, layers.Identity)  # nothing, at inference
MEANS = (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D)


def cam(network: Network, example: npt.NDArray, class_id: int) -> Explanation:
    """The last maps, weighted by the class's row of the fully connected layer.

    Its mean over all positions is the logit without its bias, so it has evidence against the
    class, too.

    Raises:  ExplainError unless the network ends in a mean over all positions and one fully
             connected layer.
    Source:  Zhou 2016, section 2, arXiv 1512.04150.
    """
    layer, head = _ending(network)
    maps, _ = network.features(layer)(example[None])
    coarse = maps[0].numpy() @ keras.ops.convert_to_numpy(head.kernel)[:, class_id]
    values = enlarger(network, layer, example.shape)(coarse)
    return Explanation.of(
        network, example, class_id, "cam", values, layer=layer, coarse=coarse.astype(np.float32)
    )


def _ending(network: Network) -> tuple[str, layers.Dense]:
    makers = {id(step.output): step for step in network.steps}
    head = makers[id(network.model.output)]
    step = head
    while step is head or isinstance(step.operation, THROUGH):
        step = makers[id(step.inputs[0])]
    features = step.inputs[0]
    if not (_linear(head) and _averages(step) and id(features) in network.names):
        raise ExplainError(
            f"cam needs a network that ends in a mean over all positions and one fully connected"
            f" layer, and {network.name} ends in {step.operation.name} and {head.operation.name}:"
            " take grad-cam, which needs neither"
        )
    return network.names[id(features)], head.operation


def _linear(step: Step) -> bool:
    operation = step.operation
    return isinstance(operation, layers.Dense) and operation.activation is keras.activations.linear


def _averages(step: Step) -> bool:
    """All positions, and those alone."""
    operation, rank = step.operation, step.inputs[0].ndim
    if type(operation).__name__ == "Mean":
        axes = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
        return list(axes) == list(range(1, rank - 1)) and not operation.keepdims
    return isinstance(operation, MEANS)
