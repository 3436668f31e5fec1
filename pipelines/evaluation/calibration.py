"""Whether a score of 0.8 is right eight times of ten, and the temperature that would mend it.

Source:  Guo 2017, On Calibration of Modern Neural Networks, sections 2 and 4.2, arXiv 1706.04599.
Differs: the temperature is fitted on the examples that are measured, as there are no others; with
         one parameter the figures after it are hardly too good, and the report says so.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import softmax

from pipelines.evaluation.measures import log_loss

BINS = 15  # Guo 2017, section 5
TEMPERATURES = (1e-3, 1e3)
FLAT = 1e-9  # a slope within rounding of zero

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


class Bin(NamedTuple):
    """Examples whose confidence is over `lowest` and at most `highest`; None: there are none."""

    lowest: float
    highest: float
    examples: int
    confidence: float | None
    accuracy: float | None


class Reliability(NamedTuple):
    """
    ece: the mean gap between confidence and accuracy of a bin, weighted by its examples (eq. 3).
    mce: the largest gap (eq. 5).
    """

    ece: float
    mce: float
    log_loss: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Calibration:
    """
    temperature: over 1, the model is too sure of itself; None if there is none, with the reason.
    after:       as it would be with the logits divided by the temperature.
    """

    before: Reliability
    temperature: float | None
    after: Reliability | None
    reason: str = ""


def calibrate(true: Integers, scores: Floats) -> Calibration:
    """
    Args: true: int [N] of at least one example; scores: [N, K] after softmax.
    """
    before = reliability(true, scores)
    temperature = find_temperature(true, scores)
    if temperature in (0.0, np.inf):
        return Calibration(
            before,
            None,
            None,
            "the true classes have the highest scores, so that to be surer still would only help"
            if temperature == 0.0
            else "the scores tell the classes apart no better than chance",
        )
    after = reliability(true, at_temperature(scores, temperature))
    return Calibration(before, temperature, after)


def reliability(true: Integers, scores: Floats) -> Reliability:
    confidence = scores.max(axis=-1).astype(np.float64)
    right = scores.argmax(axis=-1) == true
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, BINS - 1)
    counts, confidences, rights = (
        np.bincount(place, weights, BINS) for weights in (None, confidence, right)
    )
    gaps = np.abs(confidences - rights)  # each times its bin's examples
    filled = counts > 0
    bins = tuple(
        Bin(float(lowest), float(highest), int(n), c / n if n else None, r / n if n else None)
        for (lowest, highest), n, c, r in zip(
            pairwise(edges), counts, confidences.tolist(), rights.tolist(), strict=True
        )
    )
    return Reliability(
        float(gaps.sum() / len(true)),
        float((gaps[filled] / counts[filled]).max()),
        log_loss(true, scores),
        bins,
    )


def find_temperature(true: Integers, scores: Floats) -> float:
    """The T whose softmax(logits / T) makes the true classes the likeliest.

    The log loss is convex in 1 / T, so its slope there has one zero. It is 0 or infinity where the
    slope has none within TEMPERATURES: all true classes have the highest scores, say.
    """
    logits = _logits(scores)
    of_true = logits[np.arange(len(true)), true].mean()

    def slope(inverse: float) -> float:
        return float((softmax(logits * inverse, axis=-1) * logits).sum(axis=-1).mean() - of_true)

    sharpest, flattest = (1 / t for t in TEMPERATURES)
    if slope(sharpest) <= FLAT:
        return 0.0
    if slope(flattest) >= -FLAT:
        return np.inf
    return 1 / brentq(slope, flattest, sharpest, xtol=1e-9)


def at_temperature(scores: Floats, temperature: float) -> Floats:
    return softmax(_logits(scores) / temperature, axis=-1)


def _logits(scores: Floats) -> npt.NDArray[np.float64]:
    """Up to a constant, which softmax does not see. A score of 0 is one too small for float32."""
    smallest = np.finfo(np.float32).smallest_normal
    return np.log(np.maximum(scores.astype(np.float64), smallest))
