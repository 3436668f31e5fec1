"""Deconvnet by its definition: transposed filters, switches of the pool, ReLUs on the way back."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from pipelines.explain.deconvnet import deconvnet

SHAPE = (10, 10, 2)


def test_it_is_zeilers_and_fergus() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    low, high = layers.Conv2D(3, 3, activation="relu"), layers.Conv2D(4, 2)
    pool = layers.MaxPooling2D(2)
    model = keras.Model(image, high(pool(low(image))))
    high.bias.assign([5.0] * 4)  # so that there is something to send back
    pictures = np.random.default_rng(0).normal(2.0, 1.0, (2, *SHAPE)).astype(np.float32)
    found = deconvnet(model, pictures, (3, 1))
    for picture, unit, back in zip(pictures, (3, 1), found, strict=True):
        maps = low(picture[None])
        pooled, switches = tf.nn.max_pool_with_argmax(maps, 2, 2, "VALID")
        outputs = high(pooled).numpy()[0, ..., unit]
        alone = np.zeros((1, 3, 3, 4), np.float32)
        strongest = np.unravel_index(outputs.argmax(), outputs.shape)
        alone[(0, *strongest, unit)] = outputs.max()
        assert outputs.max() > 0
        x = tf.nn.conv2d_transpose(alone, high.kernel, (1, 4, 4, 3), 1, "VALID")
        unpooled = np.zeros(8 * 8 * 3, np.float32)
        unpooled[switches.numpy().ravel()] = x.numpy().ravel()
        x = tf.nn.relu(unpooled.reshape(1, 8, 8, 3))
        x = tf.nn.conv2d_transpose(x, low.kernel, (1, *SHAPE), 1, "VALID")
        np.testing.assert_allclose(back, x[0], rtol=1e-4, atol=1e-5)


def test_it_is_no_gradient_where_relus_are_off() -> None:
    """On the way back a ReLU asks what comes back, not whether it was on."""
    image = keras.Input((1, 1, 1))
    below, above = layers.Conv2D(2, 1), layers.Conv2D(1, 1)
    model = keras.Model(image, above(keras.ops.relu(below(image))))
    below.set_weights([np.array([[[[1.0, -2.0]]]]), np.zeros(2)])
    above.set_weights([np.array([[[[3.0], [1.0]]]]), np.zeros(1)])
    back = deconvnet(model, np.ones((1, 1, 1, 1), np.float32), (0,))
    assert back.item() == 3 * (3 * 1 + 1 * -2)  # the gradient leaves the second out
