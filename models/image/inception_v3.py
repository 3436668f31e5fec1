"""Inception v3 (Szegedy 2016, table 1, arXiv 1512.00567): GoogLeNet with its kernels taken apart.

| layers                | kernel, stride | output     | what is taken apart                     |
|-----------------------|----------------|------------|-----------------------------------------|
| convolution           | 3x3/2          | 149x149x32 | the three stand for one of 7x7          |
| convolution           | 3x3            | 147x147x32 |                                         |
| padded convolution    | 3x3            | 147x147x64 |                                         |
| max pool              | 3x3/2          | 73x73x64   |                                         |
| convolution           | 1x1            | 73x73x80   |                                         |
| convolution           | 3x3            | 71x71x192  |                                         |
| max pool              | 3x3/2          | 35x35x192  |                                         |
| 3 Inception, figure 5 |                | 35x35x288  | 5x5 into 3x3, 3x3                       |
| grid reduction        | 3x3/2          | 17x17x768  | convolution beside pooling              |
| 4 Inception, figure 6 |                | 17x17x768  | n x n into 1 x n, n x 1, with n = 7     |
| grid reduction        | 3x3/2          | 8x8x1280   | convolution beside pooling              |
| 2 Inception, figure 7 |                | 8x8x2048   | 3x3 into 1x3 beside 3x1: wide, not deep |
| average pool          | 8x8            | 1x1x2048   |                                         |
| linear                |                | K          |                                         |

Every convolution is followed by batch norm without a scale, and ReLU. The filters are those of
the authors' code, which the paper's table doesn't give. An n x n kernel has more to choose from
than its two parts: only products of a column and a row, with a ReLU in between.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling

VARIANTS = {"inception_v3": {}}

DROPOUT_RATE = 0.2  # of the authors' code


def _convs(width: float, dtype=None):
    """What makes the convolutions of a block: `width` times the filters that it is told."""

    def conv(filters: int, kernel_size: int | tuple[int, int], stride: int = 1, padding="same"):
        return ConvNorm(
            max(1, round(filters * width)),
            kernel_size,
            stride,
            padding=padding,
            epsilon=1e-3,
            scale=False,
            dtype=dtype,
        )

    return conv


def _through(branch, x):
    for layer in branch:
        x = layer(x)
    return x


@keras.saving.register_keras_serializable(package="triptych")
class Inception5(Block):
    """Layer: 5x5 taken apart into two 3x3.  [B, H, W, C] -> [B, H, W, 224 + pool_filters]

    Args:    width: by which all filters are multiplied, here and below.
    Source:  Szegedy 2016, figure 5.
    Differs: as in the authors' code, the shorter branch keeps 5x5 where the figure has 3x3.
    """

    def __init__(self, pool_filters: int, width: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        conv = _convs(width, self.dtype_policy)
        self.conv1x1 = [conv(64, 1)]
        self.conv5x5 = [conv(48, 1), conv(64, 5)]
        self.twice3x3 = [conv(64, 1), conv(96, 3), conv(96, 3)]
        pool = layers.AveragePooling2D(3, 1, padding="same", dtype=self.dtype_policy)
        self.pool = [pool, conv(pool_filters, 1)]

    def call(self, x):
        branches = (self.conv1x1, self.conv5x5, self.twice3x3, self.pool)
        return ops.concatenate([_through(branch, x) for branch in branches], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class Inception6(Block):
    """Layer: 7x7 taken apart into 1x7 and 7x1.  [B, H, W, C] -> [B, H, W, 768]

    Args:    inner: filters of a branch before its last.
    Source:  Szegedy 2016, figure 6, with n = 7.
    """

    def __init__(self, inner: int, width: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        conv = _convs(width, self.dtype_policy)
        row, column = (1, 7), (7, 1)
        self.conv1x1 = [conv(192, 1)]
        self.conv7x7 = [conv(inner, 1), conv(inner, row), conv(192, column)]
        self.twice7x7 = [conv(inner, 1)]
        self.twice7x7 += [conv(inner, column), conv(inner, row)]
        self.twice7x7 += [conv(inner, column), conv(192, row)]
        pool = layers.AveragePooling2D(3, 1, padding="same", dtype=self.dtype_policy)
        self.pool = [pool, conv(192, 1)]

    def call(self, x):
        branches = (self.conv1x1, self.conv7x7, self.twice7x7, self.pool)
        return ops.concatenate([_through(branch, x) for branch in branches], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class Inception7(Block):
    """Layer: 3x3 taken apart into 1x3 beside 3x1.  [B, H, W, C] -> [B, H, W, 2048]

    Source:  Szegedy 2016, figure 7: only the coarsest grid is so wide.
    """

    def __init__(self, width: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        conv = _convs(width, self.dtype_policy)
        row, column = (1, 3), (3, 1)
        self.conv1x1 = conv(320, 1)
        self.conv3x3 = conv(384, 1)
        self.fork3x3 = [conv(384, row), conv(384, column)]
        self.twice3x3 = [conv(448, 1), conv(384, 3)]
        self.fork_twice3x3 = [conv(384, row), conv(384, column)]
        pool = layers.AveragePooling2D(3, 1, padding="same", dtype=self.dtype_policy)
        self.pool = [pool, conv(192, 1)]

    def call(self, x):
        short, long = self.conv3x3(x), _through(self.twice3x3, x)
        outputs = [self.conv1x1(x)]
        outputs += [conv(short) for conv in self.fork3x3]
        outputs += [conv(long) for conv in self.fork_twice3x3]
        return ops.concatenate([*outputs, _through(self.pool, x)], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class Reduction(Block):
    """Layer: convolutions beside pooling, each of stride 2.  [B, H, W, C] -> [B, H/2, W/2, C + ..]

    Args:    to: the side of the grid that it makes of 299x299 pictures, 17 or 8.
    Source:  Szegedy 2016, section 5, figure 10; the filters: the authors' code.
    """

    def __init__(self, to: int, width: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        conv = _convs(width, self.dtype_policy)
        if to == 17:
            self.short = [conv(384, 3, 2, "valid")]
            self.long = [conv(64, 1), conv(96, 3), conv(96, 3, 2, "valid")]
        else:
            self.short = [conv(192, 1), conv(320, 3, 2, "valid")]
            self.long = [conv(192, 1), conv(192, (1, 7)), conv(192, (7, 1))]
            self.long += [conv(192, 3, 2, "valid")]
        self.pool = [layers.MaxPooling2D(3, 2, dtype=self.dtype_policy)]

    def call(self, x):
        branches = (self.short, self.long, self.pool)
        return ops.concatenate([_through(branch, x) for branch in branches], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class InceptionV3(keras.Model):
    """Inception v3.  [B, H, W, C] -> [B, K] logits

    Args:    pool_filters: of the modules of figure 5, after their pooling; inner_filters: of
             the modules of figure 6, inside; expanded: how many modules of figure 7;
             width_multiplier: of all filters, as in the authors' code; small_images: the stem
             keeps the size but for one pooling: 32x32 pictures make grids of 15, 7 and 3.
    Source:  Szegedy 2016, table 1; the same computation as keras.applications.InceptionV3, with
             23,851,784 weights of which 23,817,352 are trained.
    Differs: the stem is the code's: between its two poolings table 1 has 3x3 and a 3x3 of
             stride 2. No auxiliary classifier, whose gain in the paper is 0.4 %. Weights start
             as in He 2015; running statistics keep 0.9 of the old a step (Keras: 0.99).
    """

    def __init__(
        self,
        num_classes: int,
        pool_filters: tuple[int, ...] = (32, 64, 64),
        inner_filters: tuple[int, ...] = (128, 160, 160, 192),
        expanded: int = 2,
        width_multiplier: float = 1.0,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.pool_filters = pool_filters
        self.inner_filters = inner_filters
        self.expanded = expanded
        self.width_multiplier = width_multiplier
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        width = width_multiplier
        conv = _convs(width)
        stride, padding = (1, "same") if small_images else (2, "valid")
        self.stem = [
            conv(32, 3, stride, padding),
            conv(32, 3, 1, padding),
            conv(64, 3),
            layers.MaxPooling2D(3, 2),
            conv(80, 1),
            conv(192, 3, 1, padding),
        ]
        if not small_images:
            self.stem.append(layers.MaxPooling2D(3, 2))
        self.mixed = [
            *(Inception5(filters, width) for filters in pool_filters),
            Reduction(17, width),
            *(Inception6(filters, width) for filters in inner_filters),
            Reduction(8, width),
            *(Inception7(width) for _ in range(expanded)),
        ]
        self.head = Head(num_classes, pooling, include_top, DROPOUT_RATE)

    def call(self, images, training=None):
        x = _through(self.stem, images)  # [B, H/8, W/8, 192]
        x = _through(self.mixed, x)  # [B, H/32, W/32, 2048]
        return self.head(x)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "pool_filters": self.pool_filters,
            "inner_filters": self.inner_filters,
            "expanded": self.expanded,
            "width_multiplier": self.width_multiplier,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
