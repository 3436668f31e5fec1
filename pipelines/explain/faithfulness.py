"""Does the network need what a map points at? Positions are taken away, or given, best first."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.explain.gradients import repeated
from pipelines.explain.network import Network
from pipelines.preprocessing.text import PADDING_ID

STEPS = 16


class Curves(NamedTuple):
    """shares: of the positions, 0 to 1; deletion, insertion: the class's score at each."""

    shares: npt.NDArray[np.float32]
    deletion: npt.NDArray[np.float32]
    insertion: npt.NDArray[np.float32]

    @property
    def deletion_area(self) -> float:
        """Low if what was pointed at was needed."""
        return float(np.trapezoid(self.deletion, self.shares))

    @property
    def insertion_area(self) -> float:
        """High if what was pointed at is enough."""
        return float(np.trapezoid(self.insertion, self.shares))


def curves(network: Network, example: npt.NDArray, class_id: int, values: npt.NDArray) -> Curves:
    """The score after softmax as the positions of the highest values go, or come, first.

    What isn't there is 0: the mean of each colour or band, or no word. A text's padding is not
    counted as a position.

    Args:    values: of Explanation.
    Source:  Petsiuk 2018, section 3.3, arXiv 1806.07421.
    Differs: the paper inserts into a blurred picture.
    """
    real = positions(network, example)
    order = np.flatnonzero(real)[np.argsort(-values[real], kind="stable")]
    counts = np.unique(np.linspace(0, len(order), STEPS + 1).round().astype(int))
    best = np.zeros((len(counts), real.size), bool)
    for row, count in zip(best, counts, strict=True):
        row[order[:count]] = True

    x = network.embed(example[None]).numpy()[0]
    best = best.reshape(len(counts), *real.shape, *(1,) * (x.ndim - real.ndim))
    both = np.concatenate([np.where(best, 0, x), np.where(best, x, 0)])
    logits = network.logits(both, repeated(example, len(both)))
    scores = tf.nn.softmax(logits)[:, class_id].numpy()
    shares = (counts / max(len(order), 1)).astype(np.float32)
    return Curves(shares, scores[: len(counts)], scores[len(counts) :])


def positions(network: Network, example: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Where there is something: all of a picture and a sound, a text's tokens."""
    if network.domain == "text":
        return example != PADDING_ID
    return np.ones(example.shape[:2], bool)
