"""The input that excites a filter, a neuron or a class most, by gradient ascent on it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines.explain.ascent import ascend
from pipelines.explain.parametrisation import Parametrisation, Pixels

Regularizer = Callable[[tf.Tensor], tf.Tensor]
Modifier = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


STARTS = 64  # of noise: each unit begins with the one that excites it most, as ReLUs may be off


class Maximised(NamedTuple):
    inputs: np.ndarray  # [B, ...] within [0, 1], as the model takes them
    activations: np.ndarray  # [B]: how much each excites its unit
    history: np.ndarray  # [steps, 2, B]: the objective before and after each step


def degree(outputs: tf.Tensor, units: Sequence[int]) -> tf.Tensor:
    """How much each input excites its filter: the sum over the filter's map.  [B, ..., C] -> [B]

    Of a neuron or a class, which have no map, it is their number.

    Args:    units: one for each of the batch, in [0, C).
    """
    count, rank = outputs.shape[-1], len(outputs.shape)
    chosen = tf.reshape(tf.one_hot(list(units), count), (-1, *[1] * (rank - 2), count))
    return tf.reduce_sum(outputs * chosen, list(range(1, rank)))


def activation_maximization(
    model: keras.Model,
    units: Sequence[int],
    *,
    seed_input: np.ndarray | None = None,
    steps: int = 128,
    step_size: float | None = None,
    regularizers: Sequence[Regularizer] = (),
    input_modifiers: Sequence[Modifier] = (),
    parametrisation: Parametrisation | None = None,
    seed: int = 0,
) -> Maximised:
    """Inputs [B, ...] within [0, 1] that excite a unit each; without constraints, they may fool.

    The objective is `degree` of what the modifiers make of the input, minus the regularizers. It
    rises from step to step (see `ascend`).

    Args:    model: inputs within [0, 1] -> a layer's output [B, ..., C] (canvas.py makes it);
             units: one for each input, in [0, C); seed_input: [B, ...] to start from, else noise;
             step_size: root mean square over an input, or over its amplitudes; None leaves it to
             the parametrisation.
    Raises:  ValueError if the layer has no such unit, or a seed_input is given for waves.
    Source:  Erhan 2009, "Visualizing higher-layer features of a deep network"; names of
             tf-keras-vis.
    """
    count = model.output.shape[-1]
    wrong = [unit for unit in units if not 0 <= unit < count]
    if wrong:
        raise ValueError(f"there is no unit {wrong[0]}: the layer has 0 to {count - 1}")
    parametrisation = parametrisation or Pixels()
    shape = tuple(model.input.shape[1:])
    if seed_input is None:
        starts = parametrisation.start(STARTS, shape, seed)
        outputs = model(parametrisation.inputs(tf.constant(starts), shape), training=False)
        excited = [degree(outputs, [unit] * STARTS).numpy().argmax() for unit in units]
        start = starts[excited]
    elif isinstance(parametrisation, Pixels):
        start = np.broadcast_to(seed_input, (len(units), *shape))
    else:
        raise ValueError("a picture to start from is one of pixels: leave the parametrisation out")

    def objective(numbers: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        inputs = seen = parametrisation.inputs(numbers, shape)
        for modify in input_modifiers:
            seen = modify(seen, draw)
        value = degree(model(seen, training=False), units)
        return value - sum(penalty(inputs) for penalty in regularizers)

    step_size = step_size or parametrisation.step_size
    found = ascend(objective, start, steps, step_size, parametrisation.project, seed)
    inputs = parametrisation.inputs(tf.constant(found.inputs), shape)
    activations = degree(model(inputs, training=False), units)
    return Maximised(inputs.numpy(), activations.numpy(), found.history)
