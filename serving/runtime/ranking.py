"""Scores of all classes -> the best labels: a server's answers and a batch job's rows alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Label(NamedTuple):
    label: str
    score: float
    class_id: int


def rank(
    scores: npt.NDArray[np.float32], labels: Sequence[str], top_k: int, min_score: float = 0.0
) -> list[Label]:
    """[K] -> the best first, and of equals the lower class_id. Linear in the number of classes."""
    return rank_each(scores[np.newaxis], labels, top_k, min_score)[0]


def rank_each(
    scores: npt.NDArray[np.float32], labels: Sequence[str], top_k: int, min_score: float = 0.0
) -> list[list[Label]]:
    """[B, K] -> B times the same. For many at once, as each of NumPy's calls lets go of the
    interpreter's lock, and then waits for it again.

    Raises: ValueError if there is a score that is no number.
    """
    if np.isnan(scores).any():
        raise ValueError("the network's scores are not numbers")
    top_k = min(top_k, scores.shape[1])
    least = np.maximum(np.partition(scores, -top_k, axis=1)[:, -top_k], min_score)
    rows, class_ids = np.nonzero(scores >= least[:, np.newaxis])
    found = scores[rows, class_ids]
    order = np.lexsort((-found, rows))
    best: list[list[Label]] = [[] for _ in scores]
    ordered = (rows[order].tolist(), class_ids[order].tolist(), found[order].tolist())
    for row, class_id, score in zip(*ordered, strict=True):
        if len(best[row]) < top_k:  # of several that equal the last, those come first
            best[row].append(Label(labels[class_id], score, class_id))
    return best
