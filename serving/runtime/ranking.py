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
    """The best first, and of equals the lower class_id. Linear in the number of classes."""
    if np.isnan(scores).any():
        raise ValueError("the network's scores are not numbers")
    top_k = min(top_k, len(scores))
    least = max(np.partition(scores, -top_k)[-top_k], min_score)
    candidates = np.flatnonzero(scores >= least)
    best = candidates[np.argsort(-scores[candidates], kind="stable")][:top_k]
    return [Label(labels[i], float(scores[i]), int(i)) for i in best]
