"""Convolution over word vectors (Kim 2014, figure 1 and section 3.1, arXiv 1408.5882).

| layer                      | hyper-parameter              | output      |
|----------------------------|------------------------------|-------------|
| embedding                  | D = 300                      | T x D       |
| convolutions along time    | h = 3, 4, 5; 100 of each     | T' x 100    |
| ReLU, max over time        |                              | 3 x 100     |
| dropout                    | 0.5                          | 300         |
| fully connected            | rows of l2 norm at most 3    | K           |
"""

import keras
from keras import layers, ops

MAX_NORM = 3.0  # s in section 3.1
PADDING_ID = 0


@keras.saving.register_keras_serializable(package="triptych")
class KimCNN(keras.Model):
    """Kim's text network, CNN-rand.  [B, T] token numbers, 0 = padding -> [B, K] logits

    What a sentence scores does not depend on how far it was padded: padding has the zero
    vector, and no window that starts on it takes part in the maximum.

    Args:    vocabulary_size: token numbers are below it.
    Source:  Kim 2014, sections 2 and 3.1.
    Differs: windows may run over the end of the text, as if it were padded, so that texts
             shorter than a filter work; embedding_dim is 128 where the paper's is 300;
             dropout on the word vectors too (embedding_dropout_rate), as there is no
             word2vec to start from.
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        embedding_dim: int = 128,
        widths: tuple[int, ...] = (3, 4, 5),
        filters: int = 100,
        dropout_rate: float = 0.5,
        embedding_dropout_rate: float = 0.3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.widths = tuple(widths)
        self.filters = filters
        self.dropout_rate = dropout_rate
        self.embedding_dropout_rate = embedding_dropout_rate

        self.embedding = layers.Embedding(
            vocabulary_size,
            embedding_dim,
            embeddings_initializer=keras.initializers.RandomUniform(-0.25, 0.25),
        )
        self.embedding_dropout = layers.SpatialDropout1D(embedding_dropout_rate)
        self.convs = [
            layers.Conv1D(filters, width, activation="relu", kernel_initializer="he_normal")
            for width in self.widths
        ]
        self.dropout = layers.Dropout(dropout_rate)
        self.head = layers.Dense(
            num_classes, kernel_constraint=keras.constraints.MaxNorm(MAX_NORM, axis=0)
        )

    def call(self, tokens, training=None):
        real = ops.cast(ops.expand_dims(ops.not_equal(tokens, PADDING_ID), -1), self.compute_dtype)
        x = self.embedding_dropout(self.embedding(tokens), training=training) * real  # [B, T, D]
        pooled = []
        for width, conv in zip(self.widths, self.convs, strict=True):
            maps = conv(ops.pad(x, [(0, 0), (0, width - 1), (0, 0)]))  # [B, T, filters]
            # A ReLU gives nothing below 0, so 0 leaves a window out of the maximum.
            pooled.append(ops.max(maps * real, axis=1))
        x = ops.concatenate(pooled, axis=-1)  # [B, len(widths) * filters]
        return self.head(self.dropout(x, training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "widths": self.widths,
            "filters": self.filters,
            "dropout_rate": self.dropout_rate,
            "embedding_dropout_rate": self.embedding_dropout_rate,
        }
