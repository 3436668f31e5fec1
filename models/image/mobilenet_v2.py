"""MobileNet v2: inverted residuals (Sandler 2018, table 2, arXiv 1801.04381).

| input     | operator    | t | c    | n | s |
|-----------|-------------|---|------|---|---|
| 224x224x3 | convolution | - | 32   | 1 | 2 |
| 112x112   | bottleneck  | 1 | 16   | 1 | 1 |
| 112x112   | bottleneck  | 6 | 24   | 2 | 2 |
| 56x56     | bottleneck  | 6 | 32   | 3 | 2 |
| 28x28     | bottleneck  | 6 | 64   | 4 | 2 |
| 14x14     | bottleneck  | 6 | 96   | 3 | 1 |
| 14x14     | bottleneck  | 6 | 160  | 3 | 2 |
| 7x7       | bottleneck  | 6 | 320  | 1 | 1 |
| 7x7       | 1x1         | - | 1280 | 1 | 1 |
| 7x7       | average pool, linear: K |
"""

from typing import NamedTuple

import keras

from models.layers.block import Block
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.head import Head, Pooling
from models.layers.rounding import make_divisible

VARIANTS = {"mobilenet_v2": {}}


class Row(NamedTuple):
    t: int  # expansion
    c: int  # filters
    n: int  # blocks, of which the first strides
    s: int  # stride


# fmt: off
TABLE = (
    #   t    c  n  s
    Row(1,  16, 1, 1),
    Row(6,  24, 2, 2),
    Row(6,  32, 3, 2),
    Row(6,  64, 4, 2),
    Row(6,  96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)
# fmt: on
STEM, LAST = 32, 1280
NORM = {"epsilon": 1e-3, "momentum": 0.99}
RELU6 = {**NORM, "activation": "relu6"}


@keras.saving.register_keras_serializable(package="triptych")
class InvertedResidual(Block):
    """Layer: widen, depthwise 3x3, narrow.  [B, H, W, C] -> [B, H/s, W/s, filters]

    The sum, where there is one, joins the narrow ends. The last 1x1 is linear: a ReLU would
    lose what so few channels hold.

    Args:    expansion: t; residual: whether the input is added.
    Source:  Sandler 2018, table 1 and figure 4d.
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        expansion: int = 6,
        residual: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.expansion = expansion
        self.residual = residual
        self.depthwise = DepthwiseNorm(3, stride, dtype=dtype, **RELU6)
        self.project = ConvNorm(filters, 1, activation=None, dtype=dtype, **NORM)

    def build(self, input_shape):
        self.expand = None
        if self.expansion > 1:
            filters = self.expansion * input_shape[-1]
            self.expand = ConvNorm(filters, 1, dtype=self.dtype_policy, **RELU6)
        super().build(input_shape)

    def call(self, x):
        wide = self.expand(x) if self.expand else x
        narrow = self.project(self.depthwise(wide))
        return x + narrow if self.residual else narrow


@keras.saving.register_keras_serializable(package="triptych")
class MobileNetV2(keras.Model):
    """MobileNet v2.  [B, H, W, C] -> [B, K] logits

    Args:    rows: a table, as `TABLE`; width_multiplier: times the filters of each layer, the last
             excepted where it would shrink (section 4); small_images: for 32x32: the stem and the
             first stage that strides don't.
    Source:  Sandler 2018, table 2; 3.4 million parameters, 300 million multiply-adds.
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

        channels = make_divisible(STEM * width_multiplier)
        self.stem = ConvNorm(channels, 3, stride=1 if small_images else 2, **RELU6)
        self.stages = []
        for row in self.rows:
            filters = make_divisible(row.c * width_multiplier)
            for number in range(row.n):
                stride = 1 if number or (small_images and row.c <= 24) else row.s
                residual = stride == 1 and channels == filters
                self.stages.append(InvertedResidual(filters, stride, row.t, residual))
                channels = filters
        self.last = ConvNorm(make_divisible(LAST * max(1.0, width_multiplier)), 1, **RELU6)
        self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = self.stem(images)  # [B, H/2, W/2, 32]
        for block in self.stages:
            x = block(x)
        return self.head(self.last(x))  # [B, H/32, W/32, 1280] -> [B, K]

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
