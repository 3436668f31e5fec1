"""The logit's rise from an empty input to this one, shared out among the positions."""

import numpy as np
import numpy.typing as npt

from pipelines.explain.explanation import Explanation
from pipelines.explain.gradients import gradients, logits, summed
from pipelines.explain.network import Network

COMPLETE = 0.01  # of the difference that is shared out
FEWEST_STEPS, MOST_STEPS = 32, 256


def integrated_gradients(
    network: Network, example: npt.NDArray, class_id: int, most_steps: int = MOST_STEPS
) -> Explanation:
    """What each position adds to the class's logit, or takes from it.

    The input goes from the baseline to itself in a straight line, and its gradients are integrated
    by Gauss and Legendre's rule, with twice as many steps until the values add up to the
    difference of the two logits within 1 %; `delta` is what they miss it by. The baseline is 0: the
    mean of each colour or band, or no word.

    Args:    most_steps: is where doubling ends; 32 are always taken.
    Source:  Sundararajan 2017, section 3, arXiv 1703.01365.
    Differs: the paper has the right end's rule and a black picture.
    """
    x = network.embed(example[None]).numpy()
    before, after = logits(network, np.concatenate([np.zeros_like(x), x]), example, class_id)
    steps = FEWEST_STEPS
    while True:
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        shares = ((nodes + 1) / 2).reshape(-1, *[1] * (x.ndim - 1)).astype(np.float32)
        each = gradients(network, shares * x, example, class_id)
        attribution = x[0] * np.tensordot(weights / 2, each, axes=1)
        delta = float(attribution.sum() - (after - before))
        if abs(delta) <= COMPLETE * abs(after - before) or steps >= most_steps:
            values = summed(network, attribution)
            return Explanation.of(
                network, example, class_id, "integrated-gradients", values, delta=delta
            )
        steps *= 2
