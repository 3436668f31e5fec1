"""MobileNet v3 (Howard 2019, tables 1 and 2, arXiv 1905.02244): found by search, then trimmed.

The tables are below, in the paper's own columns. Before them a 3x3 convolution of 16 filters
with stride 2; after them a 1x1 of six times the last filters, average pooling, and one more 1x1:
it runs behind the pooling, where it costs next to nothing (figure 5).
"""

from typing import NamedTuple

import keras
from keras import layers

from models.layers.block import Block
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.head import Head, Pooling, check_pooling
from models.layers.rounding import make_divisible
from models.layers.squeeze_excite import SqueezeExcite


class Row(NamedTuple):
    kernel_size: int
    exp_size: int
    out: int
    se: bool
    nl: str  # non-linearity: RE is ReLU, HS is x * ReLU6(x + 3) / 6
    s: int  # stride


RE, HS = "relu", "hard_swish"
# fmt: off
LARGE = (
    #   k  exp  out  SE     NL  s
    Row(3,  16,  16, False, RE, 1),
    Row(3,  64,  24, False, RE, 2),
    Row(3,  72,  24, False, RE, 1),
    Row(5,  72,  40, True,  RE, 2),
    Row(5, 120,  40, True,  RE, 1),
    Row(5, 120,  40, True,  RE, 1),
    Row(3, 240,  80, False, HS, 2),
    Row(3, 200,  80, False, HS, 1),
    Row(3, 184,  80, False, HS, 1),
    Row(3, 184,  80, False, HS, 1),
    Row(3, 480, 112, True,  HS, 1),
    Row(3, 672, 112, True,  HS, 1),
    Row(5, 672, 160, True,  HS, 2),
    Row(5, 960, 160, True,  HS, 1),
    Row(5, 960, 160, True,  HS, 1),
)
SMALL = (
    Row(3,  16,  16, True,  RE, 2),
    Row(3,  72,  24, False, RE, 2),
    Row(3,  88,  24, False, RE, 1),
    Row(5,  96,  40, True,  HS, 2),
    Row(5, 240,  40, True,  HS, 1),
    Row(5, 240,  40, True,  HS, 1),
    Row(5, 120,  48, True,  HS, 1),
    Row(5, 144,  48, True,  HS, 1),
    Row(5, 288,  96, True,  HS, 2),
    Row(5, 576,  96, True,  HS, 1),
    Row(5, 576,  96, True,  HS, 1),
)
# fmt: on
VARIANTS = {
    "mobilenet_v3_large": {"rows": LARGE, "units": 1280},
    "mobilenet_v3_small": {"rows": SMALL, "units": 1024},
}
STEM = 16
LAST = 6  # times the last row's filters
REDUCTION = 4  # of squeeze and excitation, from the expansion (section 5.3)
NORM = {"epsilon": 1e-3, "momentum": 0.99}
DROPOUT_RATE = 0.2


@keras.saving.register_keras_serializable(package="triptych", name="InvertedResidualV3")
class InvertedResidual(Block):
    """Layer: widen, depthwise, squeeze and excite, narrow.  [B, H, W, C] -> [B, H/s, W/s, filters]

    Source:  Howard 2019, figure 4; the gate is a hard sigmoid (section 5.2).
    """

    def __init__(
        self,
        filters: int,
        expanded: int | None,
        kernel_size: int,
        stride: int,
        activation: str,
        squeezed: int | None,
        residual: bool,
        **kwargs,
    ):
        super().__init__(**kwargs)
        norm = {**NORM, "dtype": self.dtype_policy}
        self.residual = residual
        self.layers = [
            ConvNorm(expanded, 1, activation=activation, **norm) if expanded else None,
            DepthwiseNorm(kernel_size, stride, activation, **norm),
            SqueezeExcite(squeezed, "hard_sigmoid", dtype=norm["dtype"]) if squeezed else None,
            ConvNorm(filters, 1, activation=None, **norm),
        ]

    def call(self, x):
        y = x
        for layer in self.layers:
            y = layer(y) if layer else y
        return x + y if self.residual else y


@keras.saving.register_keras_serializable(package="triptych")
class MobileNetV3(keras.Model):
    """MobileNet v3.  [B, H, W, C] -> [B, K] logits

    Args:    rows: a table, as `LARGE`; units: of the layer behind the pooling; width_multiplier:
             times the filters of each layer; small_images: for 32x32: the stem and the first row
             that strides don't.
    Source:  Howard 2019, tables 1 and 2; 5.4 and 2.5 million parameters (table 3).
    """

    def __init__(
        self,
        num_classes: int,
        rows: tuple[Row, ...] = LARGE,
        units: int = 1280,
        width_multiplier: float = 1.0,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_pooling(pooling)
        self.num_classes = num_classes
        self.rows = tuple(Row(*row) for row in rows)
        self.units = units
        self.width_multiplier = width_multiplier
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        channels = before = make_divisible(STEM)
        self.stem = ConvNorm(STEM, 3, 1 if small_images else 2, HS, **NORM)
        self.stages = []
        strided = False
        for row in self.rows:
            filters = make_divisible(row.out * width_multiplier)
            # The ratio is the table's, the width the narrower network's.
            expanded = make_divisible(channels * row.exp_size / before)
            spared = small_images and row.s == 2 and not strided
            strided = strided or row.s == 2
            stride = 1 if spared else row.s
            self.stages.append(
                InvertedResidual(
                    filters,
                    expanded if self.stages else None,
                    row.kernel_size,
                    stride,
                    row.nl,
                    make_divisible(expanded / REDUCTION) if row.se else None,
                    residual=row.s == 1 and channels == filters,
                )
            )
            channels, before = filters, row.out
        self.last = ConvNorm(make_divisible(LAST * channels), 1, activation=HS, **NORM)
        self.pool = Head(num_classes, pooling, include_top=False)
        units = make_divisible(units * max(1.0, width_multiplier))
        self.fc = layers.Dense(units, HS) if include_top else None
        self.head = Head(num_classes, None, dropout_rate=DROPOUT_RATE) if include_top else None

    def call(self, images, training=None):
        x = self.stem(images)  # [B, H/2, W/2, 16]
        for block in self.stages:
            x = block(x)
        x = self.pool(self.last(x))  # [B, H/32, W/32, 960] -> [B, 960]
        return self.head(self.fc(x)) if self.include_top else x  # [B, 1280] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "rows": self.rows,
            "units": self.units,
            "width_multiplier": self.width_multiplier,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
