"""Saliency without the noise that it has from one pixel to the next: the mean of many."""

import numpy as np
import numpy.typing as npt

from pipelines.explain.explanation import Explanation
from pipelines.explain.gradients import gradients, magnitude
from pipelines.explain.network import Network


def smoothgrad(
    network: Network,
    example: npt.NDArray,
    class_id: int,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
) -> Explanation:
    """The mean gradient of noisy copies of the input, its size at each position.

    Args:    noise: standard deviation, as a share of the input's own range.
    Source:  Smilkov 2017, sections 3 and 4.1, arXiv 1706.03825.
    Differs: gradients are averaged with their signs, then measured.
    """
    x = network.embed(example[None]).numpy()
    rng = np.random.default_rng(seed)
    deviation = noise * (x.max() - x.min())
    noisy = x + rng.normal(0, deviation, (samples, *x.shape[1:])).astype(np.float32)
    mean = gradients(network, noisy, example, class_id).mean(axis=0)
    return Explanation.of(network, example, class_id, "smoothgrad", magnitude(network, mean))
