"""Token numbers to vectors."""

import keras
from keras import layers, ops

from models.layers.masking import masked

PADDING_ID = 0


@keras.saving.register_keras_serializable(package="triptych")
class PaddingAtZero(keras.initializers.RandomUniform):
    """Uniform in [-scale, scale], but for the row of padding: that starts at 0."""

    def __init__(self, scale: float = 0.25, seed: int | None = None):
        super().__init__(-scale, scale, seed)
        self.scale = scale

    def __call__(self, shape, dtype=None):
        padding = ops.expand_dims(ops.arange(shape[0]) == PADDING_ID, -1)
        return ops.where(padding, 0.0, super().__call__(shape, dtype))

    def get_config(self):
        return {"scale": self.scale, "seed": super().get_config()["seed"]}


@keras.saving.register_keras_serializable(package="triptych")
class TokenEmbedding(layers.Embedding):
    """Layer: a vector for each token, zeros for padding.  [B, T] token numbers -> [B, T, D]

    Row 0 is padding's. It starts at zero and gets no gradient, so that it stays there.

    Args:    as of keras.layers.Embedding.
    Source:  Kim 2014, section 2; its released code sets the row back after each step.
    """

    def __init__(self, input_dim: int, output_dim: int, **kwargs):
        kwargs.setdefault("embeddings_initializer", PaddingAtZero())
        super().__init__(input_dim, output_dim, **kwargs)

    def call(self, tokens):
        return masked(super().call(tokens), ops.not_equal(tokens, PADDING_ID))
