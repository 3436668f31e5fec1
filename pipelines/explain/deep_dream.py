"""Deep Dream: a picture in which a layer sees more of what it sees."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from pipelines.explain.ascent import ascend, clipped
from pipelines.explain.input_modifiers import Jitter

OCTAVES = 4
OCTAVE_SCALE = 1.4
STEPS = 10  # an octave
STEP_SIZE = 0.03
SMALLEST = 16  # pixels of the smallest octave's shorter side

# [B, H, W, C] within [0, 1], of any size -> {layer: output}
Features = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


def half_square(output: tf.Tensor) -> tf.Tensor:
    """½ ‖h‖² of each input, whose gradient is h itself: what is up goes up, what is down, down."""
    return tf.reduce_sum(tf.square(output), list(range(1, len(output.shape)))) / 2


def deep_dream(
    features: Features,
    picture: np.ndarray,
    layers: Mapping[str, float],
    *,
    octaves: int = OCTAVES,
    octave_scale: float = OCTAVE_SCALE,
    steps: int = STEPS,
    step_size: float = STEP_SIZE,
    jitter: int = 8,
    seed: int = 0,
) -> np.ndarray:
    """[H, W, C] within [0, 1] -> the same, dreamt on.

    From a small picture to its full size: what shrinking lost is added back at each octave, so
    that the dream has shapes of all sizes, and the picture is as sharp as before.

    Args:    layers: name -> weight.
    Source:  Mordvintsev 2015, "Inceptionism", and its notebook; lost detail as in Chollet 2017,
             "Deep Learning with Python", section 8.2.
    Differs: a step is taken only if it pays (`ascend`).
    """
    height, width, _ = picture.shape
    original = tf.constant(picture[np.newaxis], tf.float32)
    sizes = [(height, width)]
    for octave in range(1, octaves):
        size = tuple(round(side / octave_scale**octave) for side in (height, width))
        if min(size) >= SMALLEST:
            sizes.insert(0, size)

    def objective(pictures: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        outputs = features(Jitter(jitter)(pictures, draw))
        return sum(weight * half_square(outputs[name]) for name, weight in layers.items())

    x = shrunk = resized(original, sizes[0])
    for size in sizes:
        exact = resized(original, size)
        x = resized(x, size) + exact - resized(shrunk, size)
        x = tf.constant(ascend(objective, x.numpy(), steps, step_size, clipped, seed).inputs)
        shrunk = exact
    return x[0].numpy()


def resized(pictures: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    return tf.image.resize(pictures, size, method="bilinear", antialias=True)
