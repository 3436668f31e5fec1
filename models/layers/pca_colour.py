"""Other light on the same picture: colours shifted the way that colours of photos differ."""

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable(package="triptych")
class PCAColour(layers.Layer):
    """Layer: one shift of all of an image's colours, in training alone.  [B, H, W, C] -> the same

    Each image gets p1 a1 l1 + p2 a2 l2 + p3 a3 l3: eigenvectors and eigenvalues of the training
    pixels' covariance, and numbers a that are drawn anew each time, around 0.

    Args:    components: [C, C], a row for each eigenvector times its eigenvalue: `of` computes
             them; deviation: of the a.
    Source:  Krizhevsky 2012, section 4.1.
    """

    def __init__(
        self,
        components: list[list[float]],
        deviation: float = 0.1,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.components = components
        self.deviation = deviation
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    @classmethod
    def of(cls, images: np.ndarray, **kwargs) -> "PCAColour":
        """Args: images: [N, H, W, C], training images as the network gets them."""
        pixels = images.reshape(-1, images.shape[-1])
        values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False))
        return cls((vectors * values).T.tolist(), **kwargs)

    def call(self, x, training=None):
        if not training:
            return x
        shape = ops.shape(x)[0], len(self.components)
        draws = keras.random.normal(shape, stddev=self.deviation, seed=self.generator)
        shifts = ops.cast(draws @ ops.convert_to_tensor(self.components, draws.dtype), x.dtype)
        return x + shifts[:, None, None]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "components": self.components,
            "deviation": self.deviation,
            "seed": self.seed,
        }
