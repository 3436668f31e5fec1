"""Convolution over word vectors (Kim 2014, figure 1, arXiv 1408.5882).

| layer                      | hyper-parameter              | output      |
|----------------------------|------------------------------|-------------|
| embedding                  | D = 300                      | T x D       |
| convolutions along time    | h = 3, 4, 5; 100 of each     | T' x 100    |
| ReLU, max over time        |                              | 3 x 100     |
| dropout                    | 0.5                          | 300         |
| fully connected            | rows of l2 norm at most 3    | K           |

| form         | word vectors                                                     |
|--------------|------------------------------------------------------------------|
| rand         | start at random, are trained                                     |
| static       | from a file, stay as they are                                    |
| nonstatic    | from a file, are trained                                         |
| multichannel | two channels from a file, of which one is trained                |
"""

from typing import Literal

import keras
from keras import layers, ops

from models.layers.embedding import PADDING_ID, TokenEmbedding

Form = Literal["rand", "static", "nonstatic", "multichannel"]
FORMS = ("rand", "static", "nonstatic", "multichannel")
PAPER = {"embedding_dim": 300, "embedding_dropout_rate": 0.0}
VARIANTS = {
    "kim_cnn": {},
    "kim_cnn_rand": PAPER,
    "kim_cnn_static": {**PAPER, "form": "static"},
    "kim_cnn_nonstatic": {**PAPER, "form": "nonstatic"},
    "kim_cnn_multichannel": {**PAPER, "form": "multichannel"},
}
MAX_NORM = 3.0  # s


@keras.saving.register_keras_serializable(package="triptych")
class KimCNN(keras.Model):
    """Kim's text network.  [B, T] token numbers, 0 = padding -> [B, K] logits

    What a sentence scores does not depend on how far it was padded: padding has the zero
    vector, and no window that starts on it takes part in the maximum.

    Args:    vocabulary_size: token numbers are below it; form: of the table; whoever trains
             puts vectors from a file into `embeddings`.
    Raises:  ValueError for another form.
    Source:  Kim 2014. Parameters at D = 300 beside the embedding: 360,902
             (K = 2), whatever the form.
    Differs: windows may run over the end of the text, as if it were padded, so that texts
             shorter than a filter work. `kim_cnn` itself has embedding_dim 128 and dropout on
             the word vectors too (embedding_dropout_rate), as it has no file to start from.
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
        form: Form = "rand",
        **kwargs,
    ):
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.widths = tuple(widths)
        self.filters = filters
        self.dropout_rate = dropout_rate
        self.embedding_dropout_rate = embedding_dropout_rate
        self.form = form

        trained = {"static": [False], "multichannel": [False, True]}.get(form, [True])
        self.embeddings = [
            TokenEmbedding(vocabulary_size, embedding_dim, trainable=each) for each in trained
        ]
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
        # A filter is applied to each channel and the results are added up: as a
        # convolution is linear, that is the filter on the channels' sum.
        x = sum(embedding(tokens) for embedding in self.embeddings)  # [B, T, D]
        x = self.embedding_dropout(x, training=training)
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
            "form": self.form,
        }
