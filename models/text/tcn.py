"""Temporal convolutional network over words (Bai, Kolter & Koltun 2018, arXiv 1803.01271).

| layer            | hyper-parameter                                      | output |
|------------------|------------------------------------------------------|--------|
| embedding        | D                                                    | T x D  |
| residual block i | two causal convolutions, width k, dilation 2^i       | T x f  |
|                  | for i = 0 ... n-1; weight norm, ReLU, dropout        |        |
| last position    |                                                      | f      |
| fully connected  |                                                      | K      |

The last position sees 1 + 2 (k - 1) (2^n - 1) words: the paper has (k - 1) 2^i for a convolution,
and a block has two. For the words of PTB it takes k = 3 and n = 4, so 61 of them.
"""

import keras
from keras import layers, ops

from models.layers.causal import CausalResidual
from models.layers.embedding import PADDING_ID, TokenEmbedding
from models.layers.time_pooling import GlobalTimePooling

VARIANTS = {"tcn": {}}


@keras.saving.register_keras_serializable(package="triptych")
class TCN(keras.Model):
    """Temporal convolutional network.  [B, T] token numbers, 0 = padding -> [B, K] logits

    A text is classified at its last word, as the paper's sequences are. Nothing of the padding
    behind it is ever seen.

    Args:    blocks: n, each with twice the dilation of the one before; kernel_size: k.
    Source:  Bai 2018.
    Differs: dropout on the word vectors too (embedding_dropout_rate); 128 channels where the
             paper's language model has 600.
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        embedding_dim: int = 128,
        filters: int = 128,
        blocks: int = 4,
        kernel_size: int = 3,
        dropout_rate: float = 0.2,
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
        self.dropout_rate = dropout_rate
        self.embedding_dropout_rate = embedding_dropout_rate

        self.embedding = TokenEmbedding(vocabulary_size, embedding_dim)
        self.embedding_dropout = layers.SpatialDropout1D(embedding_dropout_rate)
        self.stages = [
            CausalResidual(filters, kernel_size, dilation=2**n, dropout_rate=dropout_rate)
            for n in range(blocks)
        ]
        self.pool = GlobalTimePooling("last")
        self.head = layers.Dense(num_classes)

    def call(self, tokens, training=None):
        mask = ops.not_equal(tokens, PADDING_ID)
        x = self.embedding_dropout(self.embedding(tokens), training=training)  # [B, T, D]
        for block in self.stages:
            x = block(x)  # [B, T, f]
        return self.head(self.pool(x, mask=mask))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "filters": self.filters,
            "blocks": self.blocks,
            "kernel_size": self.kernel_size,
            "dropout_rate": self.dropout_rate,
            "embedding_dropout_rate": self.embedding_dropout_rate,
        }
