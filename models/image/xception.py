"""Xception (Chollet 2017, figure 5, arXiv 1610.02357): Inception with as many towers as channels.

| flow   | shortcut         | layers ("sep": separable convolution 3x3)            | output     |
|--------|------------------|------------------------------------------------------|------------|
| entry  |                  | conv 32, 3x3/2, ReLU; conv 64, 3x3, ReLU             | 147x147x64 |
|        | conv 128, 1x1/2  | sep 128; ReLU, sep 128; max pool 3x3/2               | 74x74x128  |
|        | conv 256, 1x1/2  | ReLU, sep 256; ReLU, sep 256; max pool 3x3/2         | 37x37x256  |
|        | conv 728, 1x1/2  | ReLU, sep 728; ReLU, sep 728; max pool 3x3/2         | 19x19x728  |
| middle | the input        | ReLU, sep 728; ReLU, sep 728; ReLU, sep 728; 8 times | 19x19x728  |
| exit   | conv 1024, 1x1/2 | ReLU, sep 728; ReLU, sep 1024; max pool 3x3/2        | 10x10x1024 |
|        |                  | sep 1536, ReLU; sep 2048, ReLU; average pooling      | 2048       |

Every convolution is followed by batch norm.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling

VARIANTS = {"xception": {}}

EPSILON = 1e-3  # of batch norm, as in keras.applications
DROPOUT_RATE = 0.5  # before the last layer (section 4.3)


@keras.saving.register_keras_serializable(package="triptych")
class SeparableNorm(Block):
    """Layer: separable 3x3 convolution, batch norm.  [B, H, W, C] -> [B, H, W, filters]

    Nothing non-linear lies between the depthwise and the pointwise part: figure 10 shows that
    it would hurt.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.conv = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, dtype=dtype)
        self.norm = layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, dtype=dtype)

    def call(self, x):
        return self.norm(self.conv(x))


@keras.saving.register_keras_serializable(package="triptych")
class DownBlock(Block):
    """Layer: shortcut + pool(two separable convolutions).  [B, H, W, C] -> [B, H/2, W/2, filters]

    Args:    inner: channels between the two, `filters` if None; relu_first: False where the
             input comes out of a ReLU.
    Source:  Chollet 2017, figure 5, entry and exit flow.
    """

    def __init__(self, filters: int, inner: int | None = None, relu_first: bool = True, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.relu_first = relu_first
        self.skip = ConvNorm(filters, 1, 2, activation=None, epsilon=EPSILON, dtype=dtype)
        self.conv1 = SeparableNorm(inner or filters, dtype=dtype)
        self.conv2 = SeparableNorm(filters, dtype=dtype)
        self.pool = layers.MaxPooling2D(3, 2, padding="same", dtype=dtype)

    def call(self, x):
        y = self.conv1(ops.relu(x) if self.relu_first else x)
        y = self.conv2(ops.relu(y))
        return self.pool(y) + self.skip(x)


@keras.saving.register_keras_serializable(package="triptych")
class MiddleBlock(Block):
    """Layer: x + three separable convolutions of it.  [B, H, W, C] -> [B, H, W, C]

    Source:  Chollet 2017, figure 5, middle flow.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.convs = [SeparableNorm(filters, dtype=self.dtype_policy) for _ in range(3)]

    def call(self, x):
        y = x
        for conv in self.convs:
            y = conv(ops.relu(y))
        return x + y


@keras.saving.register_keras_serializable(package="triptych")
class Xception(keras.Model):
    """Xception.  [B, H, W, C] -> [B, K] logits

    Args:    stem_filters: of the two plain convolutions; entry_filters: of the entry flow's
             blocks, whose last are the middle flow's, too; middle_blocks: how many;
             exit_filters: of the exit flow; small_images: the stem keeps the size, so that the
             middle flow sees 32x32 pictures as 4x4.
    Source:  Chollet 2017, figure 5; the same computation as keras.applications.Xception, with
             22,910,480 weights of which 22,855,952 are trained.
    Differs: running statistics keep 0.9 of the old a step (Keras: 0.99).
    """

    def __init__(
        self,
        num_classes: int,
        stem_filters: tuple[int, int] = (32, 64),
        entry_filters: tuple[int, ...] = (128, 256, 728),
        middle_blocks: int = 8,
        exit_filters: tuple[int, int, int] = (1024, 1536, 2048),
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.stem_filters = stem_filters
        self.entry_filters = entry_filters
        self.middle_blocks = middle_blocks
        self.exit_filters = exit_filters
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        first, second = stem_filters
        stride, padding = (1, "same") if small_images else (2, "valid")
        self.stem = [
            ConvNorm(first, 3, stride, padding=padding, epsilon=EPSILON),
            ConvNorm(second, 3, padding=padding, epsilon=EPSILON),
        ]
        self.entry = [
            DownBlock(filters, relu_first=block > 0) for block, filters in enumerate(entry_filters)
        ]
        self.middle = [MiddleBlock(entry_filters[-1]) for _ in range(middle_blocks)]
        down, *last = exit_filters
        self.exit = DownBlock(down, inner=entry_filters[-1])
        self.last = [SeparableNorm(filters) for filters in last]
        self.head = Head(num_classes, pooling, include_top, DROPOUT_RATE)

    def call(self, images, training=None):
        x = images
        for layer in (*self.stem, *self.entry, *self.middle, self.exit):
            x = layer(x)  # [B, H/4, W/4, 128], H/8, H/16, [B, H/32, W/32, 1024]
        for separable in self.last:
            x = ops.relu(separable(x))
        return self.head(x)  # [B, H/32, W/32, 2048] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "stem_filters": self.stem_filters,
            "entry_filters": self.entry_filters,
            "middle_blocks": self.middle_blocks,
            "exit_filters": self.exit_filters,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
