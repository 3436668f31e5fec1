"""True classes and scores -> accuracy, and the figures of each class, by scikit-learn."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn import metrics

TOP = 5
CONFIDENCE = 0.95  # of the interval


class ClassMeasures(NamedTuple):
    """None where there is nothing to divide by: a precision of a class that was never answered."""

    label: str
    examples: int
    answered: int  # how often the model said so, right or wrong
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Measures:
    """
    interval:  Wilson's, of the accuracy, at 95 %.
    top5:      None up to five classes, where it says nothing.
    precision, recall, f1: the plain means over the classes that have examples (macro). Of classes
               that were never answered there is no precision, and they are left out of its mean.
    log_loss:  natural, the mean over the examples.
    confusion: int [K, K]: rows are true classes, columns what was answered.
    """

    examples: int
    right: int
    accuracy: float
    interval: tuple[float, float]
    top5: float | None
    precision: float | None
    recall: float
    f1: float
    log_loss: float
    classes: tuple[ClassMeasures, ...]
    confusion: npt.NDArray[np.int64]


def measure(
    true: npt.NDArray[np.integer], scores: npt.NDArray[np.floating], labels: list[str]
) -> Measures:
    """
    Args: true: int [N] of at least one example; scores: [N, K] after softmax; labels: K > 1.
    """
    classes = np.arange(len(labels))
    answered = scores.argmax(axis=-1)
    right = int(metrics.accuracy_score(true, answered, normalize=False))
    interval = binomtest(right, len(true)).proportion_ci(CONFIDENCE, "wilson")
    confusion = metrics.confusion_matrix(true, answered, labels=classes)
    each = metrics.precision_recall_fscore_support(
        true, answered, labels=classes, zero_division=np.nan
    )
    macro = metrics.precision_recall_fscore_support(
        true, answered, labels=np.unique(true), average="macro", zero_division=np.nan
    )
    return Measures(
        examples=len(true),
        right=right,
        accuracy=right / len(true),
        interval=(float(interval.low), float(interval.high)),
        top5=_top(true, scores) if len(labels) > TOP else None,
        precision=_number(macro[0]),
        recall=float(macro[1]),
        f1=float(macro[2]),
        log_loss=log_loss(true, scores),
        classes=tuple(
            ClassMeasures(label, int(n), int(said), *map(_number, figures))
            for label, n, said, *figures in zip(
                labels, each[3], confusion.sum(axis=0), *each[:3], strict=True
            )
        ),
        confusion=confusion,
    )


def log_loss(true: npt.NDArray[np.integer], scores: npt.NDArray[np.floating]) -> float:
    exact = scores.astype(np.float64)
    exact /= exact.sum(axis=-1, keepdims=True)  # float32 sums to 1 within a rounding
    return float(metrics.log_loss(true, exact, labels=np.arange(scores.shape[-1])))


def _top(true: npt.NDArray[np.integer], scores: npt.NDArray[np.floating]) -> float:
    """Of equal scores scikit-learn takes the last, and argmax the first: hence from the back."""
    last = scores.shape[-1] - 1
    return float(
        metrics.top_k_accuracy_score(
            last - true, scores[:, ::-1], k=TOP, labels=np.arange(scores.shape[-1])
        )
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
