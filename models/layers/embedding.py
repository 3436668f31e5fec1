"""Token numbers to vectors."""

import keras
from keras import layers, ops

from models.layers.masking import masked

PADDING_ID = 0


@keras.saving.register_keras_serializable(package="triptych")
class PaddingAtZero(keras.Initializer):
    """Uniform in [-scale, scale], but for the row of padding: that starts at 0."""

    def __init__(self, scale: float = 0.25, seed: int | None = None):
        self.scale = scale
        self.seed = seed

    def __call__(self, shape, dtype=None):
        rows = keras.initializers.RandomUniform(-self.scale, self.scale, seed=self.seed)(
            shape, dtype
        )
        return ops.where(ops.expand_dims(ops.arange(shape[0]) == PADDING_ID, -1), 0.0, rows)

    def get_config(self):
        return {"scale": self.scale, "seed": self.seed}


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
