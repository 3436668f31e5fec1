"""Convolution over characters (Zhang, Zhao & LeCun 2015, tables 1 and 2, arXiv 1509.01626).

| layer | large | small | kernel | pool | frames at 1014 |
|-------|-------|-------|--------|------|----------------|
| 1     | 1024  | 256   | 7      | 3    | 336            |
| 2     | 1024  | 256   | 7      | 3    | 110            |
| 3     | 1024  | 256   | 3      |      | 108            |
| 4     | 1024  | 256   | 3      |      | 106            |
| 5     | 1024  | 256   | 3      |      | 104            |
| 6     | 1024  | 256   | 3      | 3    | 34             |
| 7     | 2048  | 1024  | fully connected, dropout 0.5   |
| 8     | 2048  | 1024  | fully connected, dropout 0.5   |
| 9     | K     | K     | fully connected                |

with ReLU after each layer but the last, and no padding: l frames of text leave (l - 96) / 27. A
character is one of 70 in an alphabet, or nothing: a vector of zeros, as the blank has it. A text
is read backwards, so that its end, wherever that is, comes first and in the same place.
"""

from typing import NamedTuple

import keras
from keras import layers, ops

VARIANTS = {
    "char_cnn_small": {"filters": 256, "units": 1024, "initial_deviation": 0.05},
    "char_cnn_large": {"filters": 1024, "units": 2048, "initial_deviation": 0.02},
}
LENGTH = 1014  # characters
# Section 2.2 has the hyphen twice, and the authors' code takes the later one; a newline ends it.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}\n"
# What preprocessing has to do: token numbers 0 and 1 are padding and characters not listed.
INPUTS = {
    "vocabulary": ALPHABET,
    "unit": "character",
    "keep_spaces": True,
    "backwards": True,
    "max_tokens": LENGTH,
    "shortest": LENGTH,
}
NOT_LISTED = 2  # token numbers that stand for no character of the alphabet
DROPOUT_RATE = 0.5


class Row(NamedTuple):
    kernel: int
    pool: int | None


ROWS = (Row(7, 3), Row(7, 3), Row(3, None), Row(3, None), Row(3, None), Row(3, 3))


@keras.saving.register_keras_serializable(package="triptych")
class CharCNN(keras.Model):
    """Character-level network.  [B, T] token numbers -> [B, K] logits

    Token numbers 0 and 1 are zero vectors, the others one-hot. A text is padded or cut to
    `length` here, so that its scores don't depend on how far it was padded before.

    Args:    length: characters that the fully connected layers see; initial_deviation: of the
             normal distribution that weights start from.
    Raises:  ValueError for a length that leaves no frames.
    Source:  Zhang 2015. Parameters at K = 4: 11,339,780 / 95,940,612.
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int = NOT_LISTED + len(ALPHABET),
        filters: int = 256,
        units: int = 1024,
        initial_deviation: float = 0.05,
        length: int = LENGTH,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if length < 123:  # (123 - 96) / 27 = 1
            raise ValueError(f"length must be at least 123, not {length}")
        self.num_classes = num_classes
        self.vocabulary_size = vocabulary_size
        self.filters = filters
        self.units = units
        self.initial_deviation = initial_deviation
        self.length = length

        normal = keras.initializers.RandomNormal(stddev=initial_deviation)
        self.convs = [
            layers.Conv1D(filters, row.kernel, activation="relu", kernel_initializer=normal.clone())
            for row in ROWS
        ]
        self.pools = [layers.MaxPooling1D(row.pool) if row.pool else None for row in ROWS]
        self.flatten = layers.Flatten()
        self.hidden = [
            layers.Dense(units, activation="relu", kernel_initializer=normal.clone())
            for _ in range(2)
        ]
        self.dropouts = [layers.Dropout(DROPOUT_RATE) for _ in self.hidden]
        self.head = layers.Dense(num_classes, kernel_initializer=normal.clone())

    def call(self, tokens, training=None):
        tokens = ops.pad(tokens, [(0, 0), (0, self.length)])[:, : self.length]
        tokens = ops.reshape(tokens, (-1, self.length))  # so that Keras knows the length, too
        hot = ops.one_hot(tokens, self.vocabulary_size, dtype=self.compute_dtype)
        x = hot[..., NOT_LISTED:]  # [B, length, 70]
        for conv, pool in zip(self.convs, self.pools, strict=True):
            x = conv(x)
            x = pool(x) if pool else x
        x = self.flatten(x)  # [B, (length - 96) / 27 * filters]
        for dense, dropout in zip(self.hidden, self.dropouts, strict=True):
            x = dropout(dense(x), training=training)
        return self.head(x)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "vocabulary_size": self.vocabulary_size,
            "filters": self.filters,
            "units": self.units,
            "initial_deviation": self.initial_deviation,
            "length": self.length,
        }
