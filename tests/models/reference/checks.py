"""How a layer of the reference is held against its own numbers, and one of Keras against it."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from models.reference.numeric import numeric_gradient, relative_error

GRADIENT_ERROR = 1e-7  # relative, in float64


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def assert_gradients(layer: Callable, *arguments: np.ndarray) -> None:
    """What `back` gives for each argument is what moving that argument's numbers shows."""
    y, back = layer(*arguments)
    dy = random(*y.shape, seed=1)
    found = back(dy)
    found = found if isinstance(found, tuple) else (found,)
    for place, (argument, gradient) in enumerate(zip(arguments, found, strict=True)):

        def loss(value: np.ndarray, place: int = place) -> float:
            moved = [*arguments[:place], value, *arguments[place + 1 :]]
            return float(np.sum(layer(*moved)[0] * dy))

        assert gradient.shape == argument.shape
        assert relative_error(gradient, numeric_gradient(loss, argument)) < GRADIENT_ERROR, place


def assert_same(
    layer: keras.layers.Layer,
    reference: Callable,
    x: np.ndarray,
    tolerance: float = 1e-10,
    training: bool | None = None,
) -> None:
    """Values, and the gradients of the input and of each weight, in Keras's order.

    Args:    reference: (x, *weights) -> y, back.
    """
    x = x.astype(layer.compute_dtype)
    options = {} if training is None else {"training": training}
    layer(x, **options)
    for number, weight in enumerate(layer.trainable_weights):
        weight.assign(0.5 * random(*weight.shape, seed=number + 2) + 1)
    weights = [np.asarray(w.value) for w in layer.trainable_weights]
    y, back = reference(x.astype(np.float64), *(w.astype(np.float64) for w in weights))
    dy = random(*y.shape, seed=1)
    watched = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        theirs = layer(watched, **options)
        loss = tf.reduce_sum(theirs * tf.constant(dy, theirs.dtype))
    sources = [watched, *(w.value for w in layer.trainable_weights)]
    gradients = tape.gradient(loss, sources)
    found = back(dy)
    found = found if isinstance(found, tuple) else (found,)
    assert_close(theirs, y, tolerance)
    for gradient, wanted in zip(gradients, found, strict=True):
        assert_close(gradient, wanted, tolerance)


def assert_close(ours: object, wanted: np.ndarray, tolerance: float) -> None:
    """Within a part of the largest number."""
    wanted = np.asarray(wanted)
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(np.asarray(ours), wanted, rtol=0, atol=tolerance * scale)
