"""ShuffleNet v2 (Ma 2018, table 5, arXiv 1807.11164).

| stage | output  | units | 0.5x | 1x   | 1.5x | 2x   |
|-------|---------|-------|------|------|------|------|
| stem  | 112x112 | 3x3 convolution, 24, stride 2     |
|       | 56x56   | 3x3 max pool, stride 2            |
| 2     | 28x28   | 1 + 3 | 48   | 116  | 176  | 244  |
| 3     | 14x14   | 1 + 7 | 96   | 232  | 352  | 488  |
| 4     | 7x7     | 1 + 3 | 192  | 464  | 704  | 976  |
| last  | 7x7     | 1x1   | 1024 | 1024 | 1024 | 2048 |
| head  | 1x1     | average pool, K-way fully connected |

Made for speed, not for few multiply-adds (section 2): equal widths (G1), no groups (G2), few
branches (G3), concatenation in the place of sums (G4).
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.head import Head, Pooling
from models.layers.shuffle import ChannelShuffle

VARIANTS = {
    "shufflenet_v2_x0_5": {"filters": (48, 96, 192), "last": 1024},
    "shufflenet_v2_x1_0": {"filters": (116, 232, 464), "last": 1024},
    "shufflenet_v2_x1_5": {"filters": (176, 352, 704), "last": 1024},
    "shufflenet_v2_x2_0": {"filters": (244, 488, 976), "last": 2048},
}
STEM = 24
UNITS = (4, 8, 4)


@keras.saving.register_keras_serializable(package="triptych")
class SplitUnit(Block):
    """Layer: half of the channels pass, half are worked on; shuffle.  [B, H, W, C] -> [.., filters]

    At stride 2 both branches see all channels, and both are worked on.

    Source:  Ma 2018, figure 3c and 3d. The halves and the place of the shuffle are those of
             torchvision, whose weights fit.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        half = filters // 2

        def depthwise():
            return DepthwiseNorm(3, stride, None, padding="torch", dtype=dtype)

        self.stride = stride
        self.branch1 = []
        if stride > 1:
            self.branch1 = [depthwise(), ConvNorm(half, 1, dtype=dtype)]
        self.branch2 = [
            ConvNorm(half, 1, dtype=dtype),
            depthwise(),
            ConvNorm(half, 1, dtype=dtype),
        ]
        self.shuffle = ChannelShuffle(2, dtype=dtype)

    def call(self, x):
        one, two = (x, x) if self.stride > 1 else ops.split(x, 2, axis=-1)
        for layer in self.branch1:
            one = layer(one)
        for layer in self.branch2:
            two = layer(two)
        return self.shuffle(ops.concatenate([one, two], axis=-1))


@keras.saving.register_keras_serializable(package="triptych")
class ShuffleNetV2(keras.Model):
    """ShuffleNet v2.  [B, H, W, C] -> [B, K] logits

    Args:    filters: of stages 2 to 4; last: of the 1x1 before the pooling; units: of each stage;
             small_images: for 32x32, a stem without stride or pool.
    Source:  Ma 2018, table 5; 1.4, 2.3, 3.5 and 7.4 million parameters (table 8).
    """

    def __init__(
        self,
        num_classes: int,
        filters: tuple[int, ...] = (116, 232, 464),
        last: int = 1024,
        units: tuple[int, ...] = UNITS,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = tuple(filters)
        self.last = last
        self.units = tuple(units)
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        self.stem = ConvNorm(STEM, 3, stride=1 if small_images else 2, padding="torch")
        self.pad = None if small_images else layers.ZeroPadding2D(1)
        self.pool = None if small_images else layers.MaxPooling2D(3, 2)
        self.stages = [
            SplitUnit(width, stride=1 if unit else 2)
            for width, count in zip(filters, units, strict=True)
            for unit in range(count)
        ]
        self.last_conv = ConvNorm(last, 1)
        self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = self.stem(images)  # [B, H/2, W/2, 24]
        if self.pool:
            x = self.pool(self.pad(x))  # [B, H/4, W/4, 24]
        for unit in self.stages:
            x = unit(x)
        return self.head(self.last_conv(x))  # [B, H/32, W/32, 1024] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "last": self.last,
            "units": self.units,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
