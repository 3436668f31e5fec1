"""SqueezeNet (Iandola 2016, table 1, arXiv 1602.07360): AlexNet's accuracy, 1/50 of its weights.

| layer           | output of 1.0 | s1x1 | e1x1 | e3x3 | 1.1                     |
|-----------------|---------------|------|------|------|-------------------------|
| conv1           | 109x109x96    |      |      |      | 3x3/2, 64 (not 7x7/2)   |
| maxpool1 3x3/2  | 54x54x96      |      |      |      |                         |
| fire2           | 54x54x128     | 16   | 64   | 64   |                         |
| fire3           | 54x54x128     | 16   | 64   | 64   | followed by the pooling |
| fire4           | 54x54x256     | 32   | 128  | 128  |                         |
| maxpool4 3x3/2  | 27x27x256     |      |      |      | moved to after fire3    |
| fire5           | 27x27x256     | 32   | 128  | 128  | followed by the pooling |
| fire6           | 27x27x384     | 48   | 192  | 192  |                         |
| fire7           | 27x27x384     | 48   | 192  | 192  |                         |
| fire8           | 27x27x512     | 64   | 256  | 256  |                         |
| maxpool8 3x3/2  | 13x13x512     |      |      |      | moved to after fire5    |
| fire9           | 13x13x512     | 64   | 256  | 256  |                         |
| conv10 1x1      | 13x13xK       |      |      |      |                         |
| average pooling | K             |      |      |      |                         |

Sizes are for 224x224 pictures. The paper's table has 111 and 55 instead of 109 and 54, which
its 7x7 kernel gives on 227x227 pictures.
"""

from typing import Literal, NamedTuple

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.head import POOLS, Head, Pooling
from models.layers.pooling import CeilMaxPool

VARIANTS = {
    "squeezenet1_0": {"stem_filters": 96, "stem_kernel_size": 7, "pools": (1, 4, 8)},
    "squeezenet1_1": {"stem_filters": 64, "stem_kernel_size": 3, "pools": (1, 3, 5)},
}


class Row(NamedTuple):
    s1x1: int
    e1x1: int
    e3x3: int


# fmt: off
FIRES = (
    Row(16,  64,  64),  # fire2
    Row(16,  64,  64),
    Row(32, 128, 128),
    Row(32, 128, 128),
    Row(48, 192, 192),
    Row(48, 192, 192),
    Row(64, 256, 256),
    Row(64, 256, 256),  # fire9
)
# fmt: on
DROPOUT_RATE = 0.5  # after fire9 (section 3.3)

Bypass = Literal["simple", "complex"] | None


def _conv(filters: int, kernel_size: int = 1, **options) -> layers.Conv2D:
    options = {"activation": "relu", "kernel_initializer": "he_uniform", **options}
    return layers.Conv2D(filters, kernel_size, **options)


@keras.saving.register_keras_serializable(package="triptych")
class Fire(Block):
    """Layer: squeeze to few channels, expand by 1x1 and 3x3.  [B, H, W, C] -> [B, H, W, e1 + e3]

    Args:    bypass: "identity" adds the input, "conv" a 1x1 convolution of it, None nothing.
    Source:  Iandola 2016, section 3.2, figure 1; the bypasses: section 6, figure 2.
    """

    def __init__(self, s1x1: int, e1x1: int, e3x3: int, bypass: str | None = None, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.squeeze = _conv(s1x1, dtype=dtype)
        self.expand1x1 = _conv(e1x1, dtype=dtype)
        self.expand3x3 = _conv(e3x3, 3, padding="same", dtype=dtype)
        self.bypass = None
        if bypass == "identity":
            self.bypass = layers.Identity(dtype=dtype)
        elif bypass == "conv":
            self.bypass = _conv(e1x1 + e3x3, activation=None, dtype=dtype)

    def call(self, x):
        squeezed = self.squeeze(x)
        y = ops.concatenate([self.expand1x1(squeezed), self.expand3x3(squeezed)], axis=-1)
        return y + self.bypass(x) if self.bypass else y


@keras.saving.register_keras_serializable(package="triptych")
class ConvHead(Block):
    """Layer: one map per class, then pooling.  [B, H, W, C] -> [B, K]

    The ReLU stands before the pooling, so no logit is negative.
    Source:  Iandola 2016, section 3.3, after Lin 2014, arXiv 1312.4400. Weights start as in the
             authors' Caffe model: normal, 0.01.
    """

    def __init__(self, num_classes: int, pooling: Pooling = "avg", **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        self.dropout = layers.Dropout(DROPOUT_RATE, dtype=dtype)
        self.conv10 = _conv(num_classes, kernel_initializer=initializer, dtype=dtype)
        self.pool = POOLS[pooling](dtype=dtype)

    def call(self, x):
        return self.pool(self.conv10(self.dropout(x)))


@keras.saving.register_keras_serializable(package="triptych")
class SqueezeNet(keras.Model):
    """SqueezeNet.  [B, H, W, C] -> [B, K] logits

    Args:    stem_filters, stem_kernel_size: of conv1, which has stride 2; fires: rows of the
             table; pools: the numbers of the layers (conv1 is 1) that a pooling follows;
             bypass: "simple" adds its input to each fire module that keeps the channels,
             "complex" to the others, too, by a 1x1 convolution; small_images: conv1 with stride
             1 and nothing cut off, and no pooling after it; pooling: None puts one fully
             connected layer in place of conv10 and its pooling.
    Raises:  ValueError for another bypass.
    Source:  Iandola 2016, table 1; version 1.1 from the authors' repository.
    Differs: weights start as in He 2015, uniformly, but for conv10; the paper doesn't say how.
    """

    def __init__(
        self,
        num_classes: int,
        stem_filters: int = 96,
        stem_kernel_size: int = 7,
        fires: tuple[Row, ...] = FIRES,
        pools: tuple[int, ...] = (1, 4, 8),
        bypass: Bypass = None,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        if bypass not in (None, "simple", "complex"):
            raise ValueError(f"bypass must be None, 'simple' or 'complex', not {bypass!r}")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.stem_filters = stem_filters
        self.stem_kernel_size = stem_kernel_size
        self.fires = fires
        self.pools = pools
        self.bypass = bypass
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        if small_images:
            self.stages = [_conv(stem_filters, 3, padding="same")]
        else:
            self.stages = [_conv(stem_filters, stem_kernel_size, strides=2)]
        if 1 in pools and not small_images:
            self.stages.append(CeilMaxPool(3, 2))
        channels = stem_filters
        for number, (s1x1, e1x1, e3x3) in enumerate(fires, start=2):
            keeps, channels = channels == e1x1 + e3x3, e1x1 + e3x3
            around = "identity" if keeps else "conv" if bypass == "complex" else None
            self.stages.append(Fire(s1x1, e1x1, e3x3, around if bypass else None))
            if number in pools:
                self.stages.append(CeilMaxPool(3, 2))
        if include_top and pooling:
            self.head = ConvHead(num_classes, pooling)
        else:
            self.head = Head(num_classes, pooling, include_top, DROPOUT_RATE)

    def call(self, images, training=None):
        x = images
        for stage in self.stages:
            x = stage(x)
        return self.head(x)  # [B, H/17, W/17, 512] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "stem_filters": self.stem_filters,
            "stem_kernel_size": self.stem_kernel_size,
            "fires": self.fires,
            "pools": self.pools,
            "bypass": self.bypass,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
