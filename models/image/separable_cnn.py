"""A small network of separable convolutions and global pooling.

| layer                       | output             |
|-----------------------------|--------------------|
| 3x3 convolution, BN, ReLU   | H    x W    x f    |
| block f                     | H/2  x W/2  x f    |
| block 2f                    | H/4  x W/4  x 2f   |
| block 4f                    | H/8  x W/8  x 4f   |
| block 8f                    | H/16 x W/16 x 8f   |
| global average pooling, FC  | K                  |

A block is two 3x3 separable convolutions, each with BN and ReLU, then 2x2 max pooling.
The shape is Chollet's (Deep Learning with Python, section 5.2, with the separable layers of
7.3), without its Flatten: pooling makes the head small, and any picture size works.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling


@keras.saving.register_keras_serializable(package="triptych")
class SeparableBlock(Block):
    """Layer: two separable convolutions and a max pool.  [B, H, W, C] -> [B, H/2, W/2, filters]

    No activation between the depthwise and the pointwise part.
    Source:  Chollet 2017, section 3.3, arXiv 1610.02357.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)

        def separable():
            return layers.SeparableConv2D(
                filters,
                3,
                padding="same",
                use_bias=False,
                depthwise_initializer="he_normal",
                pointwise_initializer="he_normal",
                dtype=self.dtype_policy,
            )

        self.convs = [separable(), separable()]
        self.norms = [
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy)
            for _ in self.convs
        ]
        self.pool = layers.MaxPooling2D(2, padding="same", dtype=self.dtype_policy)

    def call(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = ops.relu(norm(conv(x)))
        return self.pool(x)


@keras.saving.register_keras_serializable(package="triptych")
class SeparableCNN(keras.Model):
    """Separable-convolution network.  [B, H, W, C] -> [B, K] logits

    Args:    filters: of the first block, doubled in each next one; blocks: how many;
             dropout_rate: of the pooled embedding.
    Source:  Chollet, Deep Learning with Python, section 7.3.
    """

    def __init__(
        self,
        num_classes: int,
        filters: int = 32,
        blocks: int = 4,
        dropout_rate: float = 0.3,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.blocks = blocks
        self.dropout_rate = dropout_rate
        self.pooling = pooling
        self.include_top = include_top

        self.stem = ConvNorm(filters, 3)
        self.stages = [SeparableBlock(filters * 2**stage) for stage in range(blocks)]
        self.head = Head(num_classes, pooling, include_top, dropout_rate)

    def call(self, images, training=None):
        x = self.stem(images)
        for block in self.stages:
            x = block(x)
        return self.head(x)  # [B, H/16, W/16, 8f] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "blocks": self.blocks,
            "dropout_rate": self.dropout_rate,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
