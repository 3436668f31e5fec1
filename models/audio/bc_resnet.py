"""BC-ResNet, broadcasted residuals (Kim 2021, arXiv 2106.04140).

| layer                        | dilation | output, at 40 mel bands | channels |
|------------------------------|----------|-------------------------|----------|
| convolution 5 x 5            |          | T x 20                  | 16c      |
| two blocks                   | 1        | T x 20                  | 8c       |
| two blocks, the first strides | 2       | T x 10                  | 12c      |
| four blocks, the first strides | 4      | T x 5                   | 16c      |
| four blocks                  | 8        | T x 5                   | 20c      |
| depthwise 5 x 5, 1 x 1       |          | T x 1                   | 32c      |
| average over time, 1 x 1     |          | 1                       | K        |

c is the width multiplier, that a variant's name ends with; frames x mel bands, and strides are
in frequency alone.
"""

from typing import NamedTuple

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.frequency import SubSpectralNorm
from models.layers.grouped import GroupedConv2D

VARIANTS = {
    f"bc_resnet{name}": {"width_multiplier": width}
    for name, width in (("1", 1.0), ("1_5", 1.5), ("2", 2.0), ("3", 3.0), ("6", 6.0), ("8", 8.0))
}


class Row(NamedTuple):
    blocks: int
    width: float  # channels, in multiples of the base's
    stride: int  # in frequency, of the first block
    dilation: int  # in time


BASE = 8
STEM, LAST = 2, 4  # multiples of the base's, too
TABLE = (Row(2, 1, 1, 1), Row(2, 1.5, 2, 2), Row(4, 2, 2, 4), Row(4, 2.5, 1, 8))
SUB_BANDS = 5
HALVINGS = 3  # of the mel bands: the stem, and two rows
DROPOUT_RATE = 0.1
NORM = {"momentum": 0.9, "epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="triptych")
class BroadcastBlock(Block):
    """Layer: relu(x + f2(x) + broadcast(f1(mean of f2(x)))).  [B, T, F, C] -> [B, T, F/s, filters]

    f2 is a depthwise filter along frequency; f1, of the mean over frequency, one along time, whose
    output is added to each band.

    Args:    transition: it changes the channels by a 1x1 first, and leaves "x +" out.
    Source:  Kim 2021.
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        dilation: int = 1,
        transition: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.transition = ConvNorm(filters, 1, dtype=dtype) if transition else None
        # Zeros on both sides, as PyTorch: "same" would have them above alone where it strides.
        self.edges = layers.ZeroPadding2D((0, 1), dtype=dtype)
        # Depthwise as groups of one, twice. This one strides in one direction alone, which
        # TensorFlow's own depthwise convolution cannot where it has no oneDNN.
        self.along_frequency = GroupedConv2D(
            filters,
            (1, 3),
            (1, stride),
            groups=filters,
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=dtype,
        )
        self.sub_spectral = SubSpectralNorm(SUB_BANDS, dtype=dtype)
        # Keras's own, dilated, moves samples into the batch and back, which OpenVINO makes an
        # empty batch of where frames are of any number.
        self.along_time = GroupedConv2D(
            filters,
            (3, 1),
            padding="same",
            dilation_rate=(dilation, 1),
            groups=filters,
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=dtype,
        )
        self.norm = layers.BatchNormalization(**NORM, dtype=dtype)
        self.pointwise = layers.Conv2D(
            filters, 1, use_bias=False, kernel_initializer="he_normal", dtype=dtype
        )
        self.dropout = layers.SpatialDropout2D(DROPOUT_RATE, dtype=dtype)

    def call(self, x):
        y = self.transition(x) if self.transition else x
        y = self.sub_spectral(self.along_frequency(self.edges(y)))  # [B, T, F/s, filters]
        z = ops.mean(y, axis=2, keepdims=True)  # [B, T, 1, filters]
        z = ops.silu(self.norm(self.along_time(z)))
        y = y + self.dropout(self.pointwise(z))
        return ops.relu(y if self.transition else x + y)


@keras.saving.register_keras_serializable(package="triptych")
class BCResNet(keras.Model):
    """BC-ResNet.  [B, T, F] -> [B, K] logits, of any number of frames

    Args:    rows: a table, as `TABLE`.
    Raises:  ValueError if F is no multiple of 40, which halved three times is to fall into five.
    Source:  Kim 2021: 9,200 to 321,000 parameters for 12 classes. Log-mel of 40 bands
             (30 ms, every 10 ms).
    """

    def __init__(
        self,
        num_classes: int,
        width_multiplier: float = 1.0,
        rows: tuple[Row, ...] = TABLE,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.width_multiplier = width_multiplier
        self.rows = tuple(Row(*row) for row in rows)

        base = int(BASE * width_multiplier)
        channels = STEM * base
        self.edges = layers.ZeroPadding2D(2)
        self.stem = layers.Conv2D(
            channels, 5, (1, 2), use_bias=False, kernel_initializer="he_normal"
        )
        self.norm = layers.BatchNormalization(**NORM)
        self.stages = []
        for row in self.rows:
            filters = int(row.width * base)
            for number in range(row.blocks):
                stride = row.stride if number == 0 else 1
                self.stages.append(
                    BroadcastBlock(filters, stride, row.dilation, transition=filters != channels)
                )
                channels = filters
        self.last_edges = layers.ZeroPadding2D((2, 0))
        self.last = layers.DepthwiseConv2D(5, use_bias=False, depthwise_initializer="he_normal")
        self.widen = ConvNorm(LAST * base, 1)
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(num_classes)

    def call(self, spectrograms, training=None):
        bands = spectrograms.shape[-1]
        if bands % (SUB_BANDS * 2**HALVINGS):
            raise ValueError(
                f"BC-ResNet takes a multiple of {SUB_BANDS * 2**HALVINGS} mel bands, not {bands}"
            )
        x = self.edges(ops.expand_dims(spectrograms, -1))  # [B, T+4, F+4, 1]
        x = ops.relu(self.norm(self.stem(x)))  # [B, T, F/2, 16c]
        for block in self.stages:
            x = block(x)
        x = self.widen(self.last(self.last_edges(x)))  # [B, T, F/8 - 4, 32c]
        return self.head(self.pool(x))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "width_multiplier": self.width_multiplier,
            "rows": self.rows,
        }
