"""Inception-ResNet v2 (Szegedy 2017, figure 15, arXiv 1602.07261): modules that add to what comes.

| layers                   | kernel, stride | output      | residuals times |
|--------------------------|----------------|-------------|-----------------|
| stem of Inception v3     |                | 35x35x192   |                 |
| Inception                |                | 35x35x320   |                 |
| 10 Inception-ResNet-A    |                | 35x35x320   | 0.17            |
| grid reduction           | 3x3/2          | 17x17x1088  |                 |
| 20 Inception-ResNet-B    |                | 17x17x1088  | 0.1             |
| grid reduction           | 3x3/2          | 8x8x2080    |                 |
| 9 Inception-ResNet-C     |                | 8x8x2080    | 0.2             |
| 1 of them, without ReLU  |                | 8x8x2080    | 1               |
| convolution              | 1x1            | 8x8x1536    |                 |
| average pool             | 8x8            | 1x1x1536    |                 |
| linear                   |                | K           |                 |

Every convolution is followed by batch norm without a scale, and ReLU, but for the one that ends a
module: it brings the branches to the channels of the sum, and has a bias. Where there are more
than a thousand filters, a sum of unscaled residuals makes such a network die early in training
(section 3.3).
"""

from typing import NamedTuple

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling

VARIANTS = {"inception_resnet_v2": {}}

DROPOUT_RATE = 0.2  # figure 15: 0.8 are kept
LAST = 1536  # filters of the convolution before the head


class Conv(NamedTuple):
    filters: int
    kernel: int | tuple[int, int]
    stride: int = 1


Branches = tuple[tuple[Conv, ...], ...]


class Row(NamedTuple):
    modules: int
    scale: float  # of the residuals
    branches: Branches


# fmt: off
INCEPTION = (  # beside them, 64 of 1x1 after average pooling
    (Conv(96, 1),),
    (Conv(48, 1), Conv(64, 5)),
    (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
)
POOL_FILTERS = 64
ROWS = (
    Row(10, 0.17, ((Conv(32, 1),),                                               # figure 16
                   (Conv(32, 1), Conv(32, 3)),
                   (Conv(32, 1), Conv(48, 3), Conv(64, 3)))),
    Row(20, 0.10, ((Conv(192, 1),),                                              # figure 17
                   (Conv(128, 1), Conv(160, (1, 7)), Conv(192, (7, 1))))),
    Row(10, 0.20, ((Conv(192, 1),),                                              # figure 19
                   (Conv(192, 1), Conv(224, (1, 3)), Conv(256, (3, 1))))),
)
REDUCTIONS = (  # beside max pooling; no padding where they stride
    ((Conv(384, 3, 2),),                                                         # figure 7
     (Conv(256, 1), Conv(256, 3), Conv(384, 3, 2))),
    ((Conv(256, 1), Conv(384, 3, 2)),                                            # figure 18
     (Conv(256, 1), Conv(288, 3, 2)),
     (Conv(256, 1), Conv(288, 3), Conv(320, 3, 2))),
)
# fmt: on


def _conv(filters: int, kernel_size, stride: int = 1, padding="same", dtype=None) -> ConvNorm:
    return ConvNorm(
        filters, kernel_size, stride, padding=padding, epsilon=1e-3, scale=False, dtype=dtype
    )


def _branch(convs, width: float, dtype) -> list[ConvNorm]:
    made = []
    for filters, kernel, stride in (Conv(*conv) for conv in convs):
        padding = "same" if stride == 1 else "valid"
        made.append(_conv(max(1, round(filters * width)), kernel, stride, padding, dtype))
    return made


def _through(branch, x):
    for layer in branch:
        x = layer(x)
    return x


@keras.saving.register_keras_serializable(package="triptych")
class Mixed(Block):
    """Layer: branches side by side.  [B, H, W, C] -> [B, H/s, W/s, the branches' filters]

    Args:    pool_filters: of a 1x1 after average pooling, or None: max pooling of stride 2 and
             all its channels, as a grid reduction has it; width: by which all filters are
             multiplied, here and below.
    Source:  Szegedy 2016, figure 5, arXiv 1512.00567; Szegedy 2017, figures 7 and 18.
    """

    def __init__(
        self,
        branches: Branches,
        pool_filters: int | None = None,
        width: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.branches = [_branch(convs, width, dtype) for convs in branches]
        if pool_filters is None:
            self.pool = [layers.MaxPooling2D(3, 2, dtype=dtype)]
        else:
            pool = layers.AveragePooling2D(3, 1, padding="same", dtype=dtype)
            self.pool = [pool, *_branch([(pool_filters, 1)], width, dtype)]

    def call(self, x):
        return ops.concatenate([_through(b, x) for b in (*self.branches, self.pool)], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class ResidualMixed(Block):
    """Layer: relu(x + scale * 1x1(branches of x)).  [B, H, W, C] -> the same

    Args:    activation: a Keras name, or None.
    Source:  Szegedy 2017, figures 16, 17, 19 and 20.
    """

    def __init__(
        self,
        branches: Branches,
        scale: float,
        activation: str | None = "relu",
        width: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.residuals = scale
        self.branches = [_branch(convs, width, self.dtype_policy) for convs in branches]
        self.act = layers.Activation(activation or "linear", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.up = layers.Conv2D(input_shape[-1], 1, dtype=self.dtype_policy)
        super().build(input_shape)

    def call(self, x):
        y = ops.concatenate([_through(branch, x) for branch in self.branches], axis=-1)
        return self.act(x + self.residuals * self.up(y))


@keras.saving.register_keras_serializable(package="triptych")
class InceptionResNetV2(keras.Model):
    """Inception-ResNet v2.  [B, H, W, C] -> [B, K] logits

    Args:    rows: a table, as `ROWS`; width_multiplier: of all filters; small_images: the stem
             keeps the size but for one pooling: 32x32 pictures make grids of 15, 7 and 3.
    Source:  Szegedy 2017, figures 15 to 20; the same computation as
             keras.applications.InceptionResNetV2, with 55,873,736 weights, 55,813,192 trained.
    Differs: from the paper as the authors' code does: the stem is that of Inception v3 and one
             Inception, not figure 3; twice as many modules; 320, 1088 and 2080 channels for 384,
             1154 and 2048; the last module is neither scaled down nor followed by ReLU, and a
             1x1 follows. From the code: no auxiliary classifier. Running statistics keep 0.9
             of the old a step (Keras: 0.99).
    """

    def __init__(
        self,
        num_classes: int,
        rows: tuple[Row, ...] = ROWS,
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

        width = width_multiplier
        stride, padding = (1, "same") if small_images else (2, "valid")
        self.stem = [
            _conv(max(1, round(32 * width)), 3, stride, padding),
            _conv(max(1, round(32 * width)), 3, 1, padding),
            _conv(max(1, round(64 * width)), 3),
            layers.MaxPooling2D(3, 2),
            _conv(max(1, round(80 * width)), 1),
            _conv(max(1, round(192 * width)), 3, 1, padding),
        ]
        if not small_images:
            self.stem.append(layers.MaxPooling2D(3, 2))
        stages = [Mixed(INCEPTION, POOL_FILTERS, width)]
        for number, row in enumerate(self.rows):
            if number:
                stages.append(Mixed(REDUCTIONS[number - 1], width=width))
            for _ in range(row.modules):
                stages.append(ResidualMixed(row.branches, row.scale, width=width))
        stages[-1] = ResidualMixed(self.rows[-1].branches, 1.0, None, width)
        self.stages = stages
        self.last = _conv(max(1, round(LAST * width)), 1)
        self.head = Head(num_classes, pooling, include_top, DROPOUT_RATE)

    def call(self, images, training=None):
        x = _through(self.stem, images)  # [B, H/8, W/8, 192]
        x = _through(self.stages, x)  # [B, H/32, W/32, 2080]
        return self.head(self.last(x))

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
