"""Which values would change the class's logit most, if they changed a little."""

import numpy.typing as npt

from pipelines.explain.explanation import Explanation
from pipelines.explain.gradients import gradients, magnitude
from pipelines.explain.network import Network


def saliency(network: Network, example: npt.NDArray, class_id: int) -> Explanation:
    """The gradient's size at each position.

    Source:  Simonyan 2014, section 3, arXiv 1312.6034.
    Differs: of a word it is the length of its embedding's gradient; the paper has pictures alone.
    """
    x = network.embed(example[None])
    (gradient,) = gradients(network, x, example, class_id)
    return Explanation.of(network, example, class_id, "saliency", magnitude(network, gradient))
