"""The wrong answers that the model was surest of: they show wrong labels as well as blind spots."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

TOP = 24


class Mistake(NamedTuple):
    source: Path | str  # a file, or the text itself
    true: str
    answered: str
    score: float  # of what was answered
    true_score: float


class Confusion(NamedTuple):
    true: str
    answered: str
    count: int


def most_confident(
    true: npt.NDArray[np.integer],
    scores: npt.NDArray[np.floating],
    sources: Sequence[Path | str],
    labels: Sequence[str],
    count: int = TOP,
) -> list[Mistake]:
    """By falling score; of equals, in the order of the examples."""
    answered = scores.argmax(axis=-1)
    wrong = np.flatnonzero(answered != true)
    order = wrong[np.argsort(-scores[wrong, answered[wrong]], kind="stable")][:count]
    return [
        Mistake(
            sources[i],
            labels[true[i]],
            labels[answered[i]],
            float(scores[i, answered[i]]),
            float(scores[i, true[i]]),
        )
        for i in order
    ]


def most_frequent(
    confusion: npt.NDArray[np.integer], labels: Sequence[str], count: int = 10
) -> list[Confusion]:
    """Which class is taken for which, the most often first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    return [
        Confusion(labels[row], labels[column], int(wrong[row, column]))
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column]
    ]
