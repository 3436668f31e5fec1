"""GoogLeNet (Szegedy 2015, table 1, arXiv 1409.4842): 22 layers deep, few weights.

| layers         | kernel | output     | #1x1 | red. | #3x3 | red. | #5x5 | pool |
|----------------|--------|------------|------|------|------|------|------|------|
| convolution    | 7x7/2  | 112x112x64 |      |      |      |      |      |      |
| max pool, norm | 3x3/2  | 56x56x64   |      |      |      |      |      |      |
| convolution    | 3x3/1  | 56x56x192  |      | 64   | 192  |      |      |      |
| norm, max pool | 3x3/2  | 28x28x192  |      |      |      |      |      |      |
| inception (3a) |        | 28x28x256  | 64   | 96   | 128  | 16   | 32   | 32   |
| inception (3b) |        | 28x28x480  | 128  | 128  | 192  | 32   | 96   | 64   |
| max pool       | 3x3/2  | 14x14x480  |      |      |      |      |      |      |
| inception (4a) |        | 14x14x512  | 192  | 96   | 208  | 16   | 48   | 64   |
| (4b) to (4e)   |        | 14x14x832  |      |      |      |      |      |      |
| max pool       | 3x3/2  | 7x7x832    |      |      |      |      |      |      |
| inception (5a) |        | 7x7x832    | 256  | 160  | 320  | 32   | 128  | 128  |
| inception (5b) |        | 7x7x1024   | 384  | 192  | 384  | 48   | 128  | 128  |
| avg pool       | 7x7    | 1x1x1024   |      |      |      |      |      |      |
| dropout (40%)  |        |            |      |      |      |      |      |      |
| linear         |        | K          |      |      |      |      |      |      |

While training, two smaller classifiers after (4a) and (4d) help the gradient on its way down.
"""

from functools import partial
from typing import NamedTuple

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling
from models.layers.local_response import LocalResponseNorm
from models.layers.pooling import CeilMaxPool

VARIANTS = {"googlenet": {}}


class Row(NamedTuple):
    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool_proj: int


# fmt: off
STAGE3 = (Row( 64,  96, 128, 16,  32,  32),  # 3a
          Row(128, 128, 192, 32,  96,  64))
STAGE4 = (Row(192,  96, 208, 16,  48,  64),  # 4a
          Row(160, 112, 224, 24,  64,  64),
          Row(128, 128, 256, 24,  64,  64),
          Row(112, 144, 288, 32,  64,  64),  # 4d
          Row(256, 160, 320, 32, 128, 128))
STAGE5 = (Row(256, 160, 320, 32, 128, 128),  # 5a
          Row(384, 192, 384, 48, 128, 128))
# fmt: on
AUXILIARY_WEIGHT = 0.3  # of an auxiliary classifier's loss (section 5)
AUXILIARY_FILTERS, AUXILIARY_UNITS = 128, 1024
DROPOUT_RATE, AUXILIARY_DROPOUT_RATE = 0.4, 0.7
EPSILON = 1e-3  # of batch norm


def _conv(
    filters: int, kernel_size: int, stride: int = 1, padding="same", batch_norm=False, dtype=None
):
    if batch_norm:
        return ConvNorm(filters, kernel_size, stride, padding=padding, epsilon=EPSILON, dtype=dtype)
    return layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding,
        activation="relu",
        kernel_initializer="he_normal",
        dtype=dtype,
    )


def _norm(batch_norm: bool) -> list[layers.Layer]:
    """Local response norm, as Caffe's model has it, or nothing: batch norm makes it needless."""
    return [] if batch_norm else [LocalResponseNorm(2, bias=1.0, alpha=1e-4 / 5, beta=0.75)]


def _through(branch, x):
    for layer in branch:
        x = layer(x)
    return x


@keras.saving.register_keras_serializable(package="triptych")
class Inception(Block):
    """Layer: 1x1, 3x3, 5x5 and pooling side by side.  [B, H, W, C] -> [B, H, W, sum of the four]

    A 1x1 convolution, the reduction or the projection, keeps the dear kernels' input small.
    Source:  Szegedy 2015, figure 2b.
    """

    def __init__(
        self,
        conv1x1: int,
        reduce3x3: int,
        conv3x3: int,
        reduce5x5: int,
        conv5x5: int,
        pool_proj: int,
        batch_norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        conv = partial(_conv, batch_norm=batch_norm, dtype=self.dtype_policy)
        pool = layers.MaxPooling2D(3, 1, padding="same", dtype=self.dtype_policy)
        self.branch1 = [conv(conv1x1, 1)]
        self.branch3 = [conv(reduce3x3, 1), conv(conv3x3, 3)]
        self.branch5 = [conv(reduce5x5, 1), conv(conv5x5, 5)]
        self.branch_pool = [pool, conv(pool_proj, 1)]

    def call(self, x):
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return ops.concatenate([_through(branch, x) for branch in branches], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class AuxiliaryHead(Block):
    """Layer: the features inside to logits, while training.  [B, H, W, C] -> [B, K]

    Source:  Szegedy 2015, section 5, the list of the side network's layers.
    """

    def __init__(self, num_classes: int, batch_norm: bool = False, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.pool = layers.AveragePooling2D(5, 3, dtype=dtype)
        self.conv = _conv(AUXILIARY_FILTERS, 1, batch_norm=batch_norm, dtype=dtype)
        self.flatten = layers.Flatten(dtype=dtype)
        self.hidden = layers.Dense(
            AUXILIARY_UNITS, "relu", kernel_initializer="he_normal", dtype=dtype
        )
        self.dropout = layers.Dropout(AUXILIARY_DROPOUT_RATE, dtype=dtype)
        self.dense = layers.Dense(num_classes, dtype=dtype)

    def call(self, x):
        x = self.conv(self.pool(x))  # [B, 4, 4, 128] of [B, 14, 14, C]
        x = self.hidden(self.flatten(x))
        return self.dense(self.dropout(x))


@keras.saving.register_keras_serializable(package="triptych")
class GoogLeNet(keras.Model):
    """GoogLeNet.  [B, H, W, C] -> [B, K] logits; with auxiliary heads, in training, three of them

    Args:    stem_filters: of the three convolutions before (3a); rows: of the table, by
             stage; auxiliary: the two side classifiers, whose losses `fit` adds and which
             inference leaves out; batch_norm: after each convolution, in place of biases and
             local response norm (as Ioffe & Szegedy 2015, arXiv 1502.03167); small_images: 3x3
             and stride 1 first, and one pooling less: 32x32 pictures reach (3a) as 16x16.
    Raises:  ValueError for auxiliary heads without a top.
    Source:  Szegedy 2015, table 1. 6,998,552 weights at K = 1000, and 6,379,728 more with the
             auxiliary heads; the table's own column says 6.8M.
    Differs: weights start as in He 2015. The numbers of local response norm, which the paper
             doesn't give, are those of Caffe's GoogLeNet, made with its first author's help.
    """

    def __init__(
        self,
        num_classes: int,
        stem_filters: tuple[int, int, int] = (64, 64, 192),
        rows: tuple[tuple[Row, ...], ...] = (STAGE3, STAGE4, STAGE5),
        auxiliary: bool = False,
        batch_norm: bool = False,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        if auxiliary and not include_top:
            raise ValueError("auxiliary heads give logits: they need include_top")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.stem_filters = stem_filters
        self.rows = rows
        self.auxiliary = auxiliary
        self.batch_norm = batch_norm
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        conv = partial(_conv, batch_norm=batch_norm)
        first, reduce, second = stem_filters
        self.stem = (
            [conv(first, 3)]
            if small_images
            else [layers.ZeroPadding2D(3), conv(first, 7, 2, "valid")]
        )
        self.stem += [CeilMaxPool(3, 2), *_norm(batch_norm)]
        self.stem += [conv(reduce, 1), conv(second, 3), *_norm(batch_norm)]
        if not small_images:
            self.stem.append(CeilMaxPool(3, 2))
        self.stage3, self.stage4, self.stage5 = (
            [Inception(*row, batch_norm=batch_norm) for row in stage] for stage in rows
        )
        self.pool3, self.pool4 = CeilMaxPool(3, 2), CeilMaxPool(3, 2)
        self.head = Head(num_classes, pooling, include_top, DROPOUT_RATE)
        self.sides = [AuxiliaryHead(num_classes, batch_norm) for _ in range(2 * auxiliary)]

    def build(self, input_shape):
        self.call(keras.KerasTensor(input_shape), training=True)  # the auxiliary heads, too

    def call(self, images, training=None):
        x = _through(self.stem, images)  # [B, H/8, W/8, 192]
        x = self.pool3(_through(self.stage3, x))  # [B, H/16, W/16, 480]
        inside = []
        for module in self.stage4:
            x = module(x)
            inside.append(x)
        x = _through(self.stage5, self.pool4(x))  # [B, H/32, W/32, 1024]
        logits = self.head(x)
        if not (training and self.auxiliary):
            return logits
        early, late = self.sides
        return logits, early(inside[0]), late(inside[-2])  # after (4a), (4d)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        main, *side = y_pred if isinstance(y_pred, tuple) else [y_pred]
        loss = super().compute_loss(x, y, main, sample_weight, training)
        one = keras.losses.get(self.loss)
        return loss + sum(AUXILIARY_WEIGHT * one(y, logits, sample_weight) for logits in side)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        main = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        return super().compute_metrics(x, y, main, sample_weight)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "stem_filters": self.stem_filters,
            "rows": self.rows,
            "auxiliary": self.auxiliary,
            "batch_norm": self.batch_norm,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
