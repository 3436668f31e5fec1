"""Inputs that look alike to people and different to a network, and how many a network stands.

All inputs are within [0, 1] (canvas.py), and so is a budget: 8 grey levels are 8 / 255.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

PGD_STEPS = 20
REACH = 2.5  # the steps together, in budgets: the other side of the ball is in reach (Madry 2018)
BATCH = 128

Attack = Callable[[keras.Model, np.ndarray, np.ndarray, float], np.ndarray]


def fgsm(
    model: keras.Model,
    inputs: np.ndarray,
    class_ids: np.ndarray,
    epsilon: float,
    targeted: bool = False,
) -> np.ndarray:
    """One step: each number by epsilon, up or down.  [B, ...] -> [B, ...]

    Args:    model: inputs within [0, 1] -> logits; class_ids: [B] true classes, or, if targeted,
             those to be taken for; epsilon: the most by which any number may change.
    Source:  Goodfellow 2015, section 4, arXiv 1412.6572.
    """
    x = tf.constant(inputs, tf.float32)
    step = epsilon * _sign(model, x, tf.constant(class_ids), targeted)
    return tf.clip_by_value(x + step, 0.0, 1.0).numpy()


def pgd(
    model: keras.Model,
    inputs: np.ndarray,
    class_ids: np.ndarray,
    epsilon: float,
    targeted: bool = False,
    steps: int = PGD_STEPS,
    seed: int = 0,
) -> np.ndarray:
    """Many small steps from a random start, each back into the budget.  [B, ...] -> [B, ...]

    Args:    as of `fgsm`.
    Source:  Madry 2018, section 2.1, arXiv 1706.06083.
    """
    clean = tf.constant(inputs, tf.float32)
    lowest = tf.maximum(clean - epsilon, 0.0)
    highest = tf.minimum(clean + epsilon, 1.0)
    start = np.random.default_rng(seed).uniform(-epsilon, epsilon, clean.shape)
    x = tf.clip_by_value(clean + start.astype(np.float32), lowest, highest)
    ids = tf.constant(class_ids)

    @tf.function
    def step(x: tf.Tensor) -> tf.Tensor:
        moved = x + REACH * epsilon / steps * _sign(model, x, ids, targeted)
        return tf.clip_by_value(moved, lowest, highest)

    for _ in range(steps):
        x = step(x)
    return x.numpy()


def robustness_curve(
    model: keras.Model,
    inputs: np.ndarray,
    class_ids: np.ndarray,
    epsilons: Sequence[float],
    attack: Attack = pgd,
) -> np.ndarray:
    """Accuracy under an attack with each budget.  [len(epsilons)], never rising

    Who was fooled within a budget is fooled within a larger one, too, and isn't attacked again.
    It is an upper bound: another attack may find more.

    Args:    epsilons: from small to large, 0 for the accuracy as it is.
    Raises:  ValueError if they are not in that order.
    """
    if list(epsilons) != sorted(epsilons) or min(epsilons, default=0) < 0:
        raise ValueError(f"budgets must be 0 or more, from small to large, not {list(epsilons)}")
    standing = np.arange(len(inputs))
    curve = []
    for epsilon in epsilons:
        kept = []
        for first in range(0, len(standing), BATCH):
            part = standing[first : first + BATCH]
            x, ids = inputs[part], class_ids[part]
            attacked = attack(model, x, ids, epsilon) if epsilon else x
            answers = np.asarray(model(attacked, training=False)).argmax(axis=-1)
            kept.append(part[answers == ids])
        standing = np.concatenate(kept) if kept else standing
        curve.append(len(standing) / len(inputs))
    return np.array(curve)


def _sign(model: keras.Model, x: tf.Tensor, class_ids: tf.Tensor, targeted: bool) -> tf.Tensor:
    """Where to go for a larger loss of the classes, or a smaller one."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = model(x, training=False)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(class_ids, logits)
    gradient = tape.gradient(loss, x)
    return tf.sign(-gradient if targeted else gradient)
