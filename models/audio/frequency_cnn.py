"""A network for short sounds whose filters move along frequency.

| layer          | filter (frames x bands) | pooling along F | output        |
|----------------|-------------------------|-----------------|---------------|
| frequency conv | 9 x 8                   | 2               | T x F1 x f    |
| frequency conv | 5 x 4                   | 2               | T x F2 x 2f   |
| frequency conv | 3 x 3                   | none            | T x F3 x 2f   |
| frequency conv | 1 x F3 (all that's left)| none            | T x 1  x 4f   |
| mean over time, dropout, FC                                | K             |

with BN and ReLU after each convolution. Nothing is pooled over time but at the end, and there
as a mean, so that a clip of any length works.

The kinds of layer are those of Abdel-Hamid 2014 (convolution and pooling along
frequency, the filter covering the frames); depth, batch norm and the global pooling over time
are newer.
"""

from typing import NamedTuple

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.frequency import FrequencyConv


class Row(NamedTuple):
    width: int  # filters, in multiples of the network's own
    context: int
    bands: int
    pool: int


# fmt: off
TABLE = (
    #   width  context  bands  pool
    Row(    1,       9,     8,    2),
    Row(    2,       5,     4,    2),
    Row(    2,       3,     3,    1),
)
# fmt: on


@keras.saving.register_keras_serializable(package="triptych")
class FrequencyBlock(Block):
    """Layer: frequency conv, BN, ReLU, max pooling along F.  [B, T, F, C] -> [B, T, F', filters]

    Args:    bands: mel bands that a filter covers, or None for all of them.
    """

    def __init__(self, filters: int, context: int, bands: int | None, pool: int = 1, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.conv = FrequencyConv(filters, context, bands, dtype=dtype)
        self.norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)
        self.pooling = layers.MaxPooling2D((1, pool), dtype=dtype)

    def call(self, x):
        return self.pooling(ops.relu(self.norm(self.conv(x))))


@keras.saving.register_keras_serializable(package="triptych")
class FrequencyCNN(keras.Model):
    """Frequency-axis network over log-mel frames.  [B, T, F] -> [B, K] logits

    Args:    filters: of the first layer (f in the table).
    Raises:  ValueError if F is under 26 mel bands, too few for the three layers.
    Source:  Abdel-Hamid 2014, doi 10.1109/TASLP.2014.2339736.
    Differs: the last layers are convolutional too, and pooled over time, where the paper has
             fully connected ones for each frame of a hidden Markov model.
    """

    def __init__(self, num_classes: int, filters: int = 32, dropout_rate: float = 0.3, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.dropout_rate = dropout_rate

        self.stages = [
            FrequencyBlock(filters * row.width, row.context, row.bands, row.pool) for row in TABLE
        ]
        self.collapse = FrequencyBlock(4 * filters, context=1, bands=None)
        self.dropout = layers.Dropout(dropout_rate)
        self.head = layers.Dense(num_classes)

    def call(self, spectrograms, training=None):
        x = ops.expand_dims(spectrograms, -1)  # [B, T, F, 1]
        for block in self.stages:
            x = block(x)
        x = self.collapse(x)  # [B, T, 1, 4f]
        x = ops.mean(x, axis=(1, 2))
        return self.head(self.dropout(x))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "dropout_rate": self.dropout_rate,
        }
