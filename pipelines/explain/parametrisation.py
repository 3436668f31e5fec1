"""How a synthetic picture is written down while it is looked for: by its pixels or its waves."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipelines.explain.ascent import clipped


@dataclass(frozen=True)
class Pixels:
    """Each number for itself, within [0, 1]."""

    step_size = 0.2  # large: a small one ends at the next kink of the ReLUs

    def start(self, count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
        """Noise about the middle."""
        noise = np.random.default_rng(seed).normal(0.5, 0.2, (count, *shape))
        return np.clip(noise, 0.0, 1.0).astype(np.float32)

    def inputs(self, numbers: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        return numbers

    project = staticmethod(clipped)


@dataclass(frozen=True)
class Fourier:
    """Amplitudes of waves, each divided by its frequency: large shapes cost no more than grain.

    Natural pictures have such a spectrum, and ascent moves all of it at one pace.

    Args:    deviation: of the amplitudes to start from.
    Source:  lucid, optvis/param/spatial.py (Olah 2017, doi 10.23915/distill.00007, "decorrelated
             space").
    Differs: colours are not decorrelated, as there are no such statistics for any data set.
    """

    deviation: float = 0.01
    step_size = 0.02

    def start(self, count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
        """[count, 2, C, H, W // 2 + 1]: real and imaginary parts."""
        height, width, channels = shape
        size = (count, 2, channels, height, width // 2 + 1)
        return np.random.default_rng(seed).normal(0, self.deviation, size).astype(np.float32)

    def inputs(self, numbers: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        """[B, H, W, C] within (0, 1)."""
        height, width, _ = shape
        down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        frequencies = np.maximum(np.hypot(down, across), 1 / max(height, width))
        scale = (np.sqrt(height * width) / frequencies).astype(np.float32)
        waves = tf.complex(numbers[:, 0] * scale, numbers[:, 1] * scale)
        pictures = tf.signal.irfft2d(waves, [height, width])
        return tf.sigmoid(tf.transpose(pictures, [0, 2, 3, 1]))

    project = staticmethod(tf.identity)


Parametrisation = Pixels | Fourier
