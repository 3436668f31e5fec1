"""Score-CAM: a layer's maps, weighted by what the network says of the input seen through each."""

import numpy as np
import numpy.typing as npt

from pipelines.explain.enlarge import enlarger
from pipelines.explain.explanation import Explanation
from pipelines.explain.grad_cam import with_positions
from pipelines.explain.gradients import logits
from pipelines.explain.network import Network

MOST_MAPS = 256


def score_cam(
    network: Network, example: npt.NDArray, class_id: int, layer: str | None = None
) -> Explanation:
    """No gradient: each map, scaled to [0, 1], is laid over the input as a mask.

    Args:    layer: as of grad_cam.
    Source:  Wang 2020, algorithm 1, arXiv 1910.01279.
    Differs: of more than 256 maps those that vary most are taken, as Faster-Score-CAM does; what
             the mask hides is 0, the mean of each colour or band, or no word.
    """
    names = with_positions(network, layer)
    *activations, _ = network.features(*names)(example[None], training=False)
    maps = np.concatenate(
        [
            enlarger(network, name, example.shape)(np.moveaxis(each.numpy()[0], -1, 0))
            for name, each in zip(names, activations, strict=True)
        ]
    )
    axes = tuple(range(1, maps.ndim))
    most_varied = np.argsort(-maps.var(axis=axes), kind="stable")[:MOST_MAPS]
    maps = maps[most_varied]
    low, high = maps.min(axis=axes, keepdims=True), maps.max(axis=axes, keepdims=True)
    masks = np.where(high > low, (maps - low) / np.where(high > low, high - low, 1), 0.0)

    x = network.embed(example[None]).numpy()[0]
    masks = masks.reshape(*masks.shape, *(1,) * (x.ndim - len(axes))).astype(np.float32)
    seen = np.concatenate(
        [
            logits(network, x * part, example, class_id)
            for part in np.array_split(masks, 8)
            if len(part)
        ]
    )
    weights = np.exp(seen - seen.max())
    values = np.maximum(np.tensordot(weights / weights.sum(), maps, axes=1), 0)
    return Explanation.of(network, example, class_id, "score-cam", values, layer=" + ".join(names))
