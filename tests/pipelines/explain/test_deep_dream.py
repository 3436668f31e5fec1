"""Deep Dream, on layers whose outputs are known."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from pipelines.explain.canvas import painted
from pipelines.explain.deep_dream import deep_dream, half_square


def network(kernel: np.ndarray) -> keras.Model:
    """One convolution, of pictures of any size, by its name."""
    image = keras.Input((8, 8, kernel.shape[2]))
    conv = layers.Conv2D(kernel.shape[3], kernel.shape[:2], padding="same", use_bias=False)
    model = keras.Model(image, conv(image))
    conv.set_weights([kernel])
    return painted(model, {"conv": model.output}, size=(None, None))


def test_row_162_the_gradient_is_the_activation_itself() -> None:
    output = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 6, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = half_square(output)
    np.testing.assert_allclose(tape.gradient(loss, output), output)
    np.testing.assert_allclose(loss, (output.numpy() ** 2).sum((1, 2, 3)) / 2, rtol=1e-5)


def test_row_162_what_is_up_goes_up_and_what_is_down_goes_down() -> None:
    picture = np.random.default_rng(0).uniform(0.3, 0.7, (24, 20, 1)).astype(np.float32)
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, :2, 0, 0] = -1, 1  # edges, of both signs
    features = network(kernel)
    dream = deep_dream(features, picture, {"conv": 1.0}, octaves=1, jitter=0)
    before, after = (features(x[None])["conv"].numpy() for x in (picture, dream))
    strong = np.abs(before) > 0.15
    assert strong.any(where=before > 0)
    assert strong.any(where=before < 0)
    assert (np.sign(after) == np.sign(before))[strong].all()
    assert np.mean(np.abs(after) > np.abs(before), where=strong) > 0.9


def test_what_shrinking_lost_is_added_back() -> None:
    picture = np.random.default_rng(0).uniform(size=(48, 40, 3)).astype(np.float32)
    features = network(np.ones((1, 1, 3, 2), np.float32))
    same = deep_dream(features, picture, {"conv": 1.0}, steps=0, octaves=3)
    np.testing.assert_allclose(same, picture, atol=1e-5)


def test_layers_are_mixed_by_their_weights() -> None:
    """A weight of 0 is no layer at all."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(size=(20, 20, 1)).astype(np.float32)
    image = keras.Input((8, 8, 1))
    up, down = layers.Conv2D(1, 1, name="up"), layers.Conv2D(1, 1, name="down")
    model = keras.Model(image, [up(image), down(image)])
    up.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])  # x
    down.set_weights([np.ones((1, 1, 1, 1)), -np.ones(1)])  # x - 1
    outputs = dict(zip(("up", "down"), model.outputs, strict=True))
    features = painted(model, outputs, size=(None, None))
    bright = deep_dream(features, picture, {"up": 1.0, "down": 0.0}, jitter=0)
    dark = deep_dream(features, picture, {"up": 0.0, "down": 1.0}, jitter=0)
    assert (bright >= picture).all()
    assert (dark <= picture).all()
    assert bright.mean() > picture.mean() + 0.1 > dark.mean() + 0.2
