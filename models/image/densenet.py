"""DenseNet (Huang 2017, table 1, arXiv 1608.06993).

| layers     | output  | 121            | 169 | 201 |
|------------|---------|----------------|-----|-----|
| stem       | 112x112 | 7x7 convolution, 2k, stride 2 |
|            | 56x56   | 3x3 max pool, stride 2 |
| block 1    | 56x56   | 6 x [1x1, 3x3] | 6   | 6   |
| transition | 28x28   | 1x1 convolution, 2x2 average pool |
| block 2    | 28x28   | 12             | 12  | 12  |
| transition | 14x14   |                |     |     |
| block 3    | 14x14   | 24             | 32  | 48  |
| transition | 7x7     |                |     |     |
| block 4    | 7x7     | 16             | 32  | 32  |
| head       | 1x1     | BN, ReLU, average pool, K-way fully connected |

Each layer sees the maps of all earlier ones of its block, and adds k of its own.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling

VARIANTS = {
    "densenet121": {"blocks": (6, 12, 24, 16)},
    "densenet169": {"blocks": (6, 12, 32, 32)},
    "densenet201": {"blocks": (6, 12, 48, 32)},
}
# For 32x32 (table 2): a depth of 100 is 3 blocks of 16 layers of 2 convolutions, and 4 more.
CIFAR = {
    "densenet_bc_100_12": {"blocks": (16, 16, 16), "growth_rate": 12, "small_images": True},
}
BOTTLENECK = 4  # a 1x1 convolution makes 4k maps (section 3)
COMPRESSION = 0.5  # theta of a transition (section 3)
EPSILON = 1.001e-5


def norm(block: layers.Layer) -> layers.Layer:
    return layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, dtype=block.dtype_policy)


def conv(block: layers.Layer, filters: int, kernel_size: int) -> layers.Layer:
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        dtype=block.dtype_policy,
    )


@keras.saving.register_keras_serializable(package="triptych")
class DenseLayer(Block):
    """Layer: BN, ReLU, 1x1, BN, ReLU, 3x3, beside its input.  [B, H, W, C] -> [B, H, W, C + k]

    Args:    dropout_rate: of the new maps.
    Source:  Huang 2017, equation 2; section 3, "Bottleneck layers".
    Differs: dropout follows the 3x3 convolutions alone, as in PyTorch's form; the authors' code
             has it after those of 1x1 and of transitions, too.
    """

    def __init__(self, growth_rate: int, dropout_rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.norm = norm(self)
        self.conv1 = ConvNorm(BOTTLENECK * growth_rate, 1, epsilon=EPSILON, dtype=dtype)
        self.conv2 = conv(self, growth_rate, 3)
        self.dropout = layers.Dropout(dropout_rate, dtype=dtype) if dropout_rate else None

    def call(self, x):
        new = self.conv2(self.conv1(ops.relu(self.norm(x))))
        return ops.concatenate([x, self.dropout(new) if self.dropout else new], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class Transition(Block):
    """Layer: BN, ReLU, 1x1, 2x2 average pool.  [B, H, W, C] -> [B, H/2, W/2, theta C]

    Source:  Huang 2017, section 3, "Pooling layers" and "Compression".
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = norm(self)
        self.pool = layers.AveragePooling2D(2, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.conv = conv(self, int(COMPRESSION * input_shape[-1]), 1)
        super().build(input_shape)

    def call(self, x):
        return self.pool(self.conv(ops.relu(self.norm(x))))


@keras.saving.register_keras_serializable(package="triptych")
class DenseNet(keras.Model):
    """DenseNet-BC.  [B, H, W, C] -> [B, K] logits

    Args:    blocks: layers of each; growth_rate: k; dropout_rate: after each layer, 0.2 for data
             without augmentation (section 4.2); small_images: a 3x3 stem without stride or pool.
    Source:  Huang 2017, tables 1 and 2. Parameters with moving statistics: 8,062,504 (121).
    """

    def __init__(
        self,
        num_classes: int,
        blocks: tuple[int, ...] = (6, 12, 24, 16),
        growth_rate: int = 32,
        dropout_rate: float = 0.0,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.blocks = tuple(blocks)
        self.growth_rate = growth_rate
        self.dropout_rate = dropout_rate
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        if small_images:
            self.stem = [conv(self, 2 * growth_rate, 3)]
        else:
            self.stem = [
                ConvNorm(2 * growth_rate, 7, stride=2, padding="torch", epsilon=EPSILON),
                layers.ZeroPadding2D(1),
                layers.MaxPooling2D(3, 2),
            ]
        self.stages = []
        for stage, count in enumerate(blocks):
            if stage:
                self.stages.append(Transition())
            self.stages += [DenseLayer(growth_rate, dropout_rate) for _ in range(count)]
        self.norm = norm(self)
        self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = images
        for layer in self.stem:
            x = layer(x)  # [B, H/4, W/4, 2k]
        for layer in self.stages:
            x = layer(x)
        return self.head(ops.relu(self.norm(x)))  # [B, H/32, W/32, C] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "blocks": self.blocks,
            "growth_rate": self.growth_rate,
            "dropout_rate": self.dropout_rate,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
