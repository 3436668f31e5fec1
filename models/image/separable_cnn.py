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
from keras import layers

from models.layers.conv import ConvNorm


@keras.saving.register_keras_serializable(package="triptych")
class SeparableBlock(layers.Layer):
    """Layer: two separable convolutions and a max pool.  [B, H, W, C] -> [B, H/2, W/2, filters]

    No activation between the depthwise and the pointwise part.
    Source:  Chollet 2017, section 3.3, arXiv 1610.02357.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

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
        self.relu = layers.ReLU(dtype=self.dtype_policy)
        self.pool = layers.MaxPooling2D(2, padding="same", dtype=self.dtype_policy)

    def build(self, input_shape):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)
            norm.build(input_shape)

    def call(self, x, training=None):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.relu(norm(conv(x), training=training))
        return self.pool(x)

    def compute_output_shape(self, input_shape):
        return self.pool.compute_output_shape((*input_shape[:-1], self.filters))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


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
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.blocks = blocks
        self.dropout_rate = dropout_rate

        self.stem = ConvNorm(filters, 3)
        self.stages = [SeparableBlock(filters * 2**stage) for stage in range(blocks)]
        self.pool = layers.GlobalAveragePooling2D()
        self.dropout = layers.Dropout(dropout_rate)
        self.head = layers.Dense(num_classes)

    def call(self, images, training=None):
        x = self.stem(images, training=training)
        for block in self.stages:
            x = block(x, training=training)
        x = self.pool(x)  # [B, 8f]
        return self.head(self.dropout(x, training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "blocks": self.blocks,
            "dropout_rate": self.dropout_rate,
        }
