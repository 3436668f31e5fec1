"""Does a map know the weights? They are shuffled, layer by layer, and it must become another."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pipelines.explain.explanation import Explanation
from pipelines.explain.faithfulness import positions
from pipelines.explain.network import Network

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the layers, from the logits down


def rank_correlations(
    network: Network,
    method: Callable[..., Explanation],
    example: npt.NDArray,
    class_id: int,
    values: npt.NDArray,
    shares: Sequence[float] = SHARES,
) -> list[float]:
    """Spearman's, between the map and the one that is made after so much of the network is random.

    Near 0 the map is about the network. Near 1 it is about the input alone, whatever it looks like.

    Args:    values: the map of the network as it is.
    Source:  Adebayo 2018, section 3, "cascading randomization", arXiv 1810.03292.
    Differs: each weight's own values are shuffled, so that variances stay variances.
    """
    real = positions(network, example)
    found = []
    for share in shares:
        with shuffled(network, share):
            other = method(network, example, class_id).values
        found.append(rank_correlation(values[real], other[real]))
    return found


@contextmanager
def shuffled(network: Network, share: float, seed: int = 0) -> Iterator[None]:
    """Within, the last layers' weights are random: so much of those layers that have any."""
    weighted = [step.weights for step in network.steps if step.weights]
    count = round(share * len(weighted))
    chosen = {id(w): w for weights in weighted[len(weighted) - count :] for w in weights}
    before = [(weight, weight.numpy()) for weight in chosen.values()]
    rng = np.random.default_rng(seed)
    try:
        for weight, own in before:
            weight.assign(rng.permutation(own.reshape(-1)).reshape(own.shape))
        yield
    finally:
        for weight, own in before:
            weight.assign(own)


def rank_correlation(one: npt.NDArray, other: npt.NDArray) -> float:
    """0 where one of them is the same everywhere: it says nothing."""
    ranks = [rankdata(x) - (x.size + 1) / 2 for x in (one.reshape(-1), other.reshape(-1))]
    lengths = [float(np.linalg.norm(r)) for r in ranks]
    return float(ranks[0] @ ranks[1] / (lengths[0] * lengths[1])) if all(lengths) else 0.0
