"""Network in network, for 32x32 pictures (Lin, Chen & Yan 2014, section 4, arXiv 1312.4400).

| layer    | window | maps          | after             | output   |
|----------|--------|---------------|-------------------|----------|
| mlpconv1 | 5x5    | 192, 160, 96  | 3x3/2 max, dropout| 16x16x96 |
| mlpconv2 | 5x5    | 192, 192, 192 | 3x3/2 max, dropout| 8x8x192  |
| mlpconv3 | 3x3    | 192, 192, K   |                   | 8x8xK    |
| pooling  | all    |               |                   | K        |

An mlpconv slides a small network over the picture, not one linear filter: a convolution and two
1x1 ones, a ReLU after each (equation 2). Its last layer has a map for each class, whose mean is
the class's logit: no fully connected layer that could overfit (section 3.2). The paper leaves the
widths to the authors' code, whose numbers these are.
"""

from typing import NamedTuple

import keras
from keras import layers

from models.layers.block import Block
from models.layers.head import POOLS, Head, Pooling, check_pooling
from models.layers.pooling import CeilMaxPool

VARIANTS = {"nin": {}}


class Row(NamedTuple):
    window: int
    maps: tuple[int, ...]


ROWS = (Row(5, (192, 160, 96)), Row(5, (192, 192, 192)), Row(3, (192, 192)))
DROPOUT_RATE = 0.5  # after all mlpconvs but the last (section 4)


def _conv(filters: int, kernel_size: int, dtype) -> layers.Conv2D:
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        dtype=dtype,
    )


@keras.saving.register_keras_serializable(package="triptych")
class MlpConv(Block):
    """Layer: a small fully connected network at each place.  [B, H, W, C] -> [B, H, W, maps[-1]]

    Args:    window: width of what it sees; maps: of its layers, the first of which sees the
             window, the others one position.
    Source:  Lin 2014, section 3.1.
    """

    def __init__(self, window: int, maps: tuple[int, ...], **kwargs):
        super().__init__(**kwargs)
        self.convs = [
            _conv(filters, 1 if i else window, self.dtype_policy) for i, filters in enumerate(maps)
        ]

    def call(self, x):
        for conv in self.convs:
            x = conv(x)
        return x


@keras.saving.register_keras_serializable(package="triptych")
class MapPerClass(Block):
    """Layer: one map per class, pooled over all positions.  [B, H, W, C] -> [B, K]

    The ReLU stands before the pooling, so no logit is negative.
    Source:  Lin 2014, section 3.2.
    """

    def __init__(self, num_classes: int, pooling: str = "avg", **kwargs):
        super().__init__(**kwargs)
        self.conv = _conv(num_classes, 1, self.dtype_policy)
        self.pool = POOLS[pooling](dtype=self.dtype_policy)

    def call(self, features):
        return self.pool(self.conv(features))


@keras.saving.register_keras_serializable(package="triptych")
class NIN(keras.Model):
    """Network in network.  [B, H, W, C] -> [B, K] logits

    Args:    rows: the table's, the last without its K maps; pooling: None puts one fully
             connected layer in the place of the K maps and their mean, which section 4.6
             compares.
    Source:  Lin 2014, section 4.1. 966,986 parameters at K = 10.
    Differs: weights start as in He 2015; the paper doesn't say how.
    """

    def __init__(
        self,
        num_classes: int,
        rows: tuple[Row, ...] = ROWS,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        check_pooling(pooling)
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.rows = tuple((window, tuple(maps)) for window, maps in rows)
        self.pooling = pooling
        self.include_top = include_top

        self.mlpconvs = [MlpConv(*row) for row in self.rows]
        self.pools = [CeilMaxPool(3, 2) for _ in rows[1:]]
        self.dropouts = [layers.Dropout(DROPOUT_RATE) for _ in rows[1:]]
        if include_top and pooling:
            self.head = MapPerClass(num_classes, pooling)
        else:
            self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = self.mlpconvs[0](images)
        for pool, dropout, mlpconv in zip(
            self.pools, self.dropouts, self.mlpconvs[1:], strict=True
        ):
            x = mlpconv(dropout(pool(x)))
        return self.head(x)  # [B, H/4, W/4, 192] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "rows": self.rows,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
