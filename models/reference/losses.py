"""What a classifier's scores cost, as a mean over the batch, and what weights cost.

Scores [B, K], labels [B] class numbers -> loss, dscores.
"""

import numpy as np


def softmax_loss(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Cross-entropy of the softmax; ln K, if all scores are equal."""
    rows = np.arange(len(scores))
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dscores = np.exp(log_p)
    dscores[rows, labels] -= 1
    return -log_p[rows, labels].mean(), dscores / len(scores)


def svm_loss(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of max(0, score - the right one's + 1) over the wrong classes; K - 1, if all are equal.

    Source:  Weston & Watkins 1999.
    """
    rows = np.arange(len(scores))
    margins = np.maximum(0, scores - scores[rows, labels][:, np.newaxis] + 1)
    margins[rows, labels] = 0
    dscores = (margins > 0).astype(scores.dtype)
    dscores[rows, labels] = -dscores.sum(axis=1)
    return margins.sum() / len(scores), dscores / len(scores)


def weight_decay(weights: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
    """strength / 2 * the sum of squares, and its gradient: strength * weights.

    keras.regularizers.L2(strength) has no 1/2: it is this one of twice the strength.
    """
    return strength / 2 * float(np.sum(weights**2)), strength * weights
