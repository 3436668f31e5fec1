"""TC-ResNet, convolution along time alone (Choi 2019, arXiv 1904.03814).

| layer              | TC-ResNet8 | TC-ResNet14 | output       |
|--------------------|------------|-------------|--------------|
| convolution 3 x 1  | 16         | 16          | T x 1 x 16   |
| blocks 9 x 1       | 24         | 24, 24      | T/2 x 1 x 24 |
| blocks 9 x 1       | 32         | 32, 32      | T/4 x 1 x 32 |
| blocks 9 x 1       | 48         | 48, 48      | T/8 x 1 x 48 |
| average over time, dropout 0.5, FC                    | K            |

The coefficients are the channels, so that a filter covers all of them and moves along time: what
frequency_cnn.py does, turned by a right angle. The paper's are 40 MFCCs (30 ms, every 10 ms).
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm

VARIANTS = {
    "tc_resnet8": {"filters": (16, 24, 32, 48)},
    "tc_resnet14": {"filters": (16, 24, 24, 32, 32, 48, 48)},
    "tc_resnet8_1_5": {"filters": (16, 24, 32, 48), "width_multiplier": 1.5},
    "tc_resnet14_1_5": {"filters": (16, 24, 24, 32, 32, 48, 48), "width_multiplier": 1.5},
}
NORM = {"epsilon": 1e-3}  # of the authors' code
DROPOUT_RATE = 0.5


@keras.saving.register_keras_serializable(package="triptych")
class TemporalBlock(Block):
    """Layer: relu(skip + two 9x1 convolutions).  [B, T, 1, C] -> [B, T/2, 1, filters], or T if C

    Source:  Choi 2019: it strides where it widens, and the skip is then a 1x1 with batch
             norm and ReLU.
    """

    def __init__(self, filters: int, widen: bool = False, **kwargs):
        super().__init__(**kwargs)
        norm = {**NORM, "dtype": self.dtype_policy}
        stride = 2 if widen else 1
        self.skip = ConvNorm(filters, 1, stride, **norm) if widen else None
        self.conv1 = ConvNorm(filters, (9, 1), stride, **norm)
        self.conv2 = ConvNorm(filters, (9, 1), activation=None, **norm)

    def call(self, x):
        skip = self.skip(x) if self.skip else x
        return ops.relu(skip + self.conv2(self.conv1(x)))


@keras.saving.register_keras_serializable(package="triptych")
class TCResNet(keras.Model):
    """TC-ResNet.  [B, T, F] -> [B, K] logits, of any number of frames

    Args:    filters: of the first convolution and of each block; width_multiplier: times them.
    Source:  Choi 2019: 66, 137, 145 and 305 thousand parameters for 8 and 14 layers and
             widths of 1 and 1.5, the moving statistics among them.
    Differs: running statistics keep 0.9 of the old a step, where the authors' 0.997 needs as many
             thousand steps as they train for.
    """

    def __init__(
        self,
        num_classes: int,
        filters: tuple[int, ...] = VARIANTS["tc_resnet8"]["filters"],
        width_multiplier: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = tuple(filters)
        self.width_multiplier = width_multiplier

        channels, *others = (int(count * width_multiplier) for count in self.filters)
        self.stem = ConvNorm(channels, (3, 1), **NORM)
        self.stages = []
        for count in others:
            self.stages.append(TemporalBlock(count, widen=count != channels))
            channels = count
        self.pool = layers.GlobalAveragePooling2D()
        self.dropout = layers.Dropout(DROPOUT_RATE)
        self.head = layers.Dense(num_classes, use_bias=False)

    def call(self, spectrograms, training=None):
        x = self.stem(ops.expand_dims(spectrograms, 2))  # [B, T, 1, F] -> [B, T, 1, 16]
        for block in self.stages:
            x = block(x)
        x = self.pool(x)  # [B, 48]
        return self.head(self.dropout(x, training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "width_multiplier": self.width_multiplier,
        }
