"""Gated convolution over words (Dauphin 2017, figure 1 and section 2, arXiv 1612.08083).

| layer                       | hyper-parameter                   | output |
|-----------------------------|-----------------------------------|--------|
| embedding                   | D                                 | T x D  |
| gated convolution           | width k, causal                   | T x f  |
| residual gated convolutions | width k, causal, x + gate(x * W)  | T x f  |
| mean over the text, dropout |                                   | f      |
| fully connected             |                                   | K      |

The paper's networks are language models: its smallest for the Google Billion Word data has D = 128
and 13 layers of k = 4, f = 1268. Here the text's mean is classified, and four layers of 128 do.
"""

import keras
from keras import layers, ops

from models.layers.embedding import PADDING_ID, TokenEmbedding
from models.layers.gating import Gate, GatedConv1D
from models.layers.time_pooling import GlobalTimePooling

VARIANTS = {"gated_cnn": {}}


@keras.saving.register_keras_serializable(package="triptych")
class GatedCNN(keras.Model):
    """Gated text network.  [B, T] token numbers, 0 = padding -> [B, K] logits

    Each position sees itself and the layers * (kernel_size - 1) words before it. Padding follows
    the text, so that no position of it sees any, and the mean leaves it out.

    Args:    gate: "glu", or "gtu", which the paper compares it with (section 3).
    Source:  Dauphin 2017, section 2.
    Differs: a classifier on the mean over the text, not the next word's adaptive softmax; each
             layer has its shortcut, where some of the paper's have one around several.
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        embedding_dim: int = 128,
        filters: int = 128,
        blocks: int = 4,
        kernel_size: int = 4,
        gate: Gate = "glu",
        dropout_rate: float = 0.5,
        embedding_dropout_rate: float = 0.3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.filters = filters
        self.blocks = blocks
        self.kernel_size = kernel_size
        self.gate = gate
        self.dropout_rate = dropout_rate
        self.embedding_dropout_rate = embedding_dropout_rate

        self.embedding = TokenEmbedding(vocabulary_size, embedding_dim)
        self.embedding_dropout = layers.SpatialDropout1D(embedding_dropout_rate)
        self.convs = [GatedConv1D(filters, kernel_size, gate) for _ in range(blocks)]
        self.pool = GlobalTimePooling("avg")
        self.dropout = layers.Dropout(dropout_rate)
        self.head = layers.Dense(num_classes)

    def call(self, tokens, training=None):
        mask = ops.not_equal(tokens, PADDING_ID)
        x = self.embedding_dropout(self.embedding(tokens), training=training)  # [B, T, D]
        x = self.convs[0](x)  # [B, T, f]
        for conv in self.convs[1:]:
            x = x + conv(x)
        return self.head(self.dropout(self.pool(x, mask=mask), training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "filters": self.filters,
            "blocks": self.blocks,
            "kernel_size": self.kernel_size,
            "gate": self.gate,
            "dropout_rate": self.dropout_rate,
            "embedding_dropout_rate": self.embedding_dropout_rate,
        }
