"""Gradient ascent on inputs, the network's weights fixed: each step is one that pays."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

HALVINGS = 12  # of a step that doesn't pay, before it is left out
SMALL = 1e-3  # a move that shows whether a number is at its bound

# (inputs [B, ...], seed [2] of whatever is drawn in it) -> what to raise, [B]
Objective = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Ascent(NamedTuple):
    inputs: np.ndarray  # [B, ...]
    history: np.ndarray  # [steps, 2, B]: the objective before and after each step


def clipped(inputs: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(inputs, 0.0, 1.0)


def ascend(
    objective: Objective,
    start: np.ndarray,
    steps: int,
    step_size: float,
    project: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    seed: int = 0,
) -> Ascent:
    """Go up, by backtracking: a step is halved until it raises the objective, or else left out.

    What an objective draws at random, it draws anew for each step and alike before and after it,
    so that the two compare. If it draws nothing, history[n, 1] is history[n + 1, 0], and the
    whole of it rises. Each input of the batch has its own objective and its own step.

    Args:    start: [B, ...]; step_size: the longest step, as the root mean square over those of
             an input's numbers that move; project: back to what is allowed, as `clipped`.
    """

    @tf.function
    def value(inputs: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        return objective(inputs, draw)

    @tf.function
    def value_and_direction(inputs: tf.Tensor, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            values = objective(inputs, draw)
        gradient = tape.gradient(values, inputs)
        # Numbers at a bound that would leave it don't count, or few others would move at all.
        free = project(inputs + SMALL * tf.sign(gradient)) != inputs
        return values, _to_length_one(tf.where(free, gradient, 0.0))

    inputs = project(tf.convert_to_tensor(start, tf.float32))
    draws = np.random.default_rng(seed)
    each = (-1, *[1] * (len(inputs.shape) - 1))
    sizes = np.full(len(start), step_size, np.float32)
    history = np.zeros((steps, 2, len(start)), np.float32)
    for step in range(steps):
        draw = tf.constant(draws.integers(2**31, size=2, dtype=np.int32))
        values, direction = value_and_direction(inputs, draw)
        values = reached = values.numpy()
        waiting = np.ones(len(start), bool)
        for _ in range(HALVINGS):
            trial = project(inputs + direction * sizes.reshape(each))
            tried = value(trial, draw).numpy()
            better = waiting & (tried > values)
            inputs = tf.where(better.reshape(each), trial, inputs)
            reached = np.where(better, tried, reached)
            waiting &= ~better
            if not waiting.any():
                break
            sizes = np.where(waiting, sizes / 2, sizes)
        history[step] = values, reached
        sizes = np.minimum(2 * sizes, step_size)
    return Ascent(inputs.numpy(), history)


def _to_length_one(directions: tf.Tensor) -> tf.Tensor:
    """[B, ...]: each input's, by the root mean square of what isn't 0."""
    axes = list(range(1, len(directions.shape)))
    squares = tf.reduce_sum(tf.square(directions), axes, keepdims=True)
    count = tf.math.count_nonzero(directions, axes, keepdims=True, dtype=tf.float32)
    return directions * tf.sqrt(tf.math.divide_no_nan(count, squares))
