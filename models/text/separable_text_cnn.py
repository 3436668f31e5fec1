"""A small text network of separable convolutions.

| layer                                             | output       |
|---------------------------------------------------|--------------|
| embedding                                         | T x D        |
| dropout, two separable convolutions of 3, f       | T x f        |
| max pool of 3                                     | T/3 x f      |
| two separable convolutions of 3, 2f               | T/3 x 2f     |
| mean over the text, dropout, fully connected      | K            |

with ReLU after each convolution. The shape is that of Google's guide to text classification
(google/eng-edu, ml/guides/text_classification, `sepcnn_model`, its f = 64 and D = 200): one pair of
convolutions and a pool for each block but the last, which is twice as wide and not pooled.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.embedding import PADDING_ID, TokenEmbedding
from models.layers.masking import masked
from models.layers.time_pooling import GlobalTimePooling, TimeMaxPool

VARIANTS = {"separable_text_cnn": {}}
POOL = 3


@keras.saving.register_keras_serializable(package="triptych")
class SeparablePair(Block):
    """Layer: two separable convolutions along time, each with ReLU.  [B, T, C] -> [B, T, filters]

    First a filter of its own for each channel, then a 1x1 convolution; no activation between.
    What `mask` leaves out is read as zeros.
    Source:  Chollet 2017, arXiv 1610.02357.
    """

    def __init__(self, filters: int, kernel_size: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.convs = [
            layers.SeparableConv1D(
                filters,
                kernel_size,
                padding="same",
                activation="relu",
                depthwise_initializer="he_normal",
                pointwise_initializer="he_normal",
                dtype=self.dtype_policy,
            )
            for _ in range(2)
        ]

    def call(self, x, mask=None):
        for conv in self.convs:
            x = conv(masked(x, mask))
        return x


@keras.saving.register_keras_serializable(package="triptych")
class SeparableTextCNN(keras.Model):
    """Separable text network.  [B, T] token numbers, 0 = padding -> [B, K] logits

    Args:    blocks: pairs of convolutions, the last of them wider and not pooled.
    Source:  Google's guide to text classification, step 4.
    Differs: padding is masked; weights start as in He 2015; dropout of whole channels on the
             word vectors.
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        embedding_dim: int = 200,
        filters: int = 64,
        blocks: int = 2,
        kernel_size: int = 3,
        dropout_rate: float = 0.2,
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

        self.embedding = TokenEmbedding(vocabulary_size, embedding_dim)
        self.pairs = [SeparablePair(filters, kernel_size) for _ in range(blocks - 1)]
        self.dropouts = [layers.SpatialDropout1D(dropout_rate) for _ in self.pairs]
        self.pools = [TimeMaxPool(POOL, POOL) for _ in self.pairs]
        self.last = SeparablePair(2 * filters, kernel_size)
        self.pool = GlobalTimePooling("avg")
        self.dropout = layers.Dropout(dropout_rate)
        self.head = layers.Dense(num_classes)

    def call(self, tokens, training=None):
        mask = ops.not_equal(tokens, PADDING_ID)
        x = self.embedding(tokens)  # [B, T, D]
        for dropout, pair, pool in zip(self.dropouts, self.pairs, self.pools, strict=True):
            x = pair(dropout(x, training=training), mask=mask)
            x, mask = pool(x, mask=mask), pool.compute_mask(x, mask)  # [B, T/3, f]
        x = self.pool(self.last(x, mask=mask), mask=mask)  # [B, 2f]
        return self.head(self.dropout(x, training=training))

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
        }
