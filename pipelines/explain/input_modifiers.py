"""What an input goes through before the network sees it, so that what is found holds for more
than one exact input.  ([B, H, W, C], seed [2]) -> the same shape

Names as in tf-keras-vis. They draw from the seed alone; of sounds, only `Jitter` makes sense.
"""

import math
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Jitter:
    """Moved by up to so many places along the first two axes; what leaves comes in again."""

    places: int | tuple[int, int] = 4

    def __call__(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        most = tf.constant([self.places] * 2 if isinstance(self.places, int) else self.places)
        shares = tf.random.stateless_uniform([2], seed)  # in [0, 1)
        moves = tf.cast(shares * tf.cast(2 * most + 1, tf.float32), tf.int32) - most
        return tf.roll(inputs, moves, [1, 2])


@dataclass(frozen=True)
class Rotate2D:
    """Turned about its centre by up to so many degrees; what comes in is as the border."""

    degrees: float = 3.0

    def __call__(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        most = math.radians(self.degrees)
        angle = tf.random.stateless_uniform([], seed + 1, -most, most)
        cos, sin = tf.cos(angle), tf.sin(angle)
        down, across = ((size - 1) / 2 for size in inputs.shape[1:3])
        turn = [cos, -sin, across - cos * across + sin * down]
        turn += [sin, cos, down - sin * across - cos * down, 0.0, 0.0]
        turns = tf.repeat(tf.stack(turn)[tf.newaxis], tf.shape(inputs)[0], axis=0)
        return keras.ops.image.affine_transform(
            inputs, turns, fill_mode="nearest", data_format="channels_last"
        )


@dataclass(frozen=True)
class Blur:
    """By a Gaussian of so many places: what is finer is worth nothing, and does not grow."""

    sigma: float = 1.0

    def __call__(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        radius = math.ceil(3 * self.sigma)
        bell = np.exp(-0.5 * (np.arange(-radius, radius + 1) / self.sigma) ** 2)
        channels = inputs.shape[-1]
        line = tf.repeat(tf.constant(bell / bell.sum(), tf.float32)[:, None], channels, axis=1)
        sides = [[0, 0], [radius, radius], [radius, radius], [0, 0]]
        x = tf.pad(inputs, sides, "SYMMETRIC")
        for kernel in (line[:, None, :, None], line[None, :, :, None]):
            x = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID")
        return x
