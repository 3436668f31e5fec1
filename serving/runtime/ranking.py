"""Scores of all classes -> the best labels: a server's answers and a batch job's rows alike."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Below, Python is as fast as NumPy, whose calls each let go of the interpreter's lock and then wait
# for it again.
FEW = 128
NOT_NUMBERS = "the network's scores are not numbers"


class Label(NamedTuple):
    label: str
    score: float
    class_id: int


def rank(
    scores: npt.NDArray[np.float32], labels: Sequence[str], top_k: int, min_score: float = 0.0
) -> list[Label]:
    """[K] -> the best first, and of equals the lower class_id.

    Raises: ValueError if there is a score that is no number.
    """
    if len(scores) > FEW:
        return rank_each(scores[np.newaxis], labels, top_k, min_score)[0]
    values: list[float] = scores.tolist()
    if any(map(math.isnan, values)):
        raise ValueError(NOT_NUMBERS)
    class_ids = [i for i, value in enumerate(values) if value >= min_score]
    class_ids.sort(key=values.__getitem__, reverse=True)  # stable
    return [Label(labels[i], values[i], i) for i in class_ids[:top_k]]


def rank_each(
    scores: npt.NDArray[np.float32], labels: Sequence[str], top_k: int, min_score: float = 0.0
) -> list[list[Label]]:
    """[B, K] -> B times the same, linear in the number of classes. Raises: as `rank`."""
    if np.isnan(scores).any():
        raise ValueError(NOT_NUMBERS)
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
