"""MobileNet (Howard 2017, table 1, arXiv 1704.04861).

| layer                      | output (at 224) | filters     |
|----------------------------|-----------------|-------------|
| convolution 3x3, stride 2  | 112x112         | 32          |
| separable 3x3              | 112x112         | 64          |
| separable, stride 2; one   | 56x56           | 128, 128    |
| separable, stride 2; one   | 28x28           | 256, 256    |
| separable, stride 2; five  | 14x14           | 512, 5x 512 |
| separable, stride 2; one   | 7x7             | 1024, 1024  |
| average pool, linear       | 1x1             | K           |

A separable convolution is a depthwise 3x3 and a 1x1, each with batch norm and ReLU6: eight to
nine times fewer multiply-adds than a 3x3 (section 3.1).
"""

from typing import NamedTuple

import keras

from models.layers.block import Block
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.head import Head, Pooling

VARIANTS = {"mobilenet": {}}


class Row(NamedTuple):
    filters: int
    stride: int


# The last stride is 1: the 2 in table 1 is a slip, as the sizes beside it show.
TABLE = (
    Row(64, 1),
    *(Row(128, 2), Row(128, 1)),
    *(Row(256, 2), Row(256, 1)),
    *(Row(512, 2), Row(512, 1), Row(512, 1), Row(512, 1), Row(512, 1), Row(512, 1)),
    *(Row(1024, 2), Row(1024, 1)),
)
NORM = {"epsilon": 1e-3, "momentum": 0.99, "activation": "relu6"}
DROPOUT_RATE = 1e-3


@keras.saving.register_keras_serializable(package="triptych")
class SeparableConv(Block):
    """Layer: depthwise 3x3, BN, ReLU6, 1x1, BN, ReLU6.  [B, H, W, C] -> [B, H/s, W/s, filters]

    Source:  Howard 2017, figure 3, right.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.depthwise = DepthwiseNorm(3, stride, dtype=dtype, **NORM)
        self.pointwise = ConvNorm(filters, 1, dtype=dtype, **NORM)

    def call(self, x):
        return self.pointwise(self.depthwise(x))


@keras.saving.register_keras_serializable(package="triptych")
class MobileNet(keras.Model):
    """MobileNet.  [B, H, W, C] -> [B, K] logits

    Args:    rows: a table, as `TABLE`; width_multiplier: alpha, times the filters of each layer
             (section 3.3); small_images: for 32x32: the stem and the first two stages don't stride.
    Source:  Howard 2017, table 1; 4.2 million parameters, 569 million multiply-adds.
    Differs: ReLU6 and dropout of 0.001, as in the authors' code; the paper has ReLU. From
             keras.applications only where a stride of 2 meets an odd side, which no multiple of
             32 has: that one pads the end alone and gives a row fewer; here it is SAME, as
             keras.applications' own v2 and v3.
    """

    def __init__(
        self,
        num_classes: int,
        rows: tuple[Row, ...] = TABLE,
        width_multiplier: float = 1.0,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.rows = tuple(Row(*row) for row in rows)
        self.width_multiplier = width_multiplier
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        def width(filters):
            return int(filters * width_multiplier)

        def stride(row):
            return 1 if small_images and row.filters <= 128 else row.stride

        self.stem = ConvNorm(width(32), 3, stride=1 if small_images else 2, **NORM)
        self.stages = [SeparableConv(width(row.filters), stride(row)) for row in self.rows]
        self.head = Head(num_classes, pooling, include_top, DROPOUT_RATE)

    def call(self, images, training=None):
        x = self.stem(images)  # [B, H/2, W/2, 32]
        for block in self.stages:
            x = block(x)
        return self.head(x)  # [B, H/32, W/32, 1024] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "rows": self.rows,
            "width_multiplier": self.width_multiplier,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
