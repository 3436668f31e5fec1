"""Class activation maps: where the last features are that the class is weighted by."""

import numpy as np
import numpy.typing as npt

from models.positions import averaged
from pipelines.explain.enlarge import enlarger
from pipelines.explain.errors import ExplainError
from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network


def cam(network: Network, example: npt.NDArray, class_id: int) -> Explanation:
    """The maps that are averaged last, weighted by the class's row of the fully connected layer.

    Its mean over all positions is the logit without its bias, so it has evidence against the
    class, too.

    Raises:  ExplainError unless the network ends in a mean over all positions and one fully
             connected layer.
    Source:  Zhou 2016, section 2, arXiv 1512.04150.
    """
    ending = averaged(network.steps)
    if ending is None:
        raise ExplainError(
            "cam needs a network that ends in a mean over all positions and one fully connected"
            f" layer, and {network.name} does not: take grad-cam, which needs neither"
        )
    layer = network.name_of(ending.maps)
    maps, _ = network.features(layer)(example[None])
    coarse = maps[0].numpy() @ ending.weights.numpy()[:, class_id]
    values = enlarger(network, layer, example.shape)(coarse)
    return Explanation.of(
        network, example, class_id, "cam", values, layer=layer, coarse=coarse.astype(np.float32)
    )
