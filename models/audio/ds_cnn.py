"""DS-CNN, depthwise separable (Zhang 2017, "Hello Edge", arXiv 1711.07128).

| layer                    | S: 64 filters | M: 172        | L: 276        |
|--------------------------|---------------|---------------|---------------|
| convolution 10 x 4       | stride 2 x 2  | stride 2 x 1  | stride 2 x 1  |
| separable 3 x 3          | stride 1      | stride 2 x 2  | stride 2 x 2  |
| separable 3 x 3          | three         | three         | four          |
| average pooling, FC      | K             | K             | K             |

for 49 frames (40 ms, every 20 ms) of 10 MFCCs; frames x coefficients. BN and ReLU after each
convolution, depthwise ones too.
"""

import keras
from keras import layers, ops

from models.layers.block import Block

VARIANTS = {
    "ds_cnn_s": {"filters": 64, "strides": ((2, 2), (1, 1), (1, 1), (1, 1), (1, 1))},
    "ds_cnn_m": {"filters": 172, "strides": ((2, 1), (2, 2), (1, 1), (1, 1), (1, 1))},
    "ds_cnn_l": {"filters": 276, "strides": ((2, 1), (2, 2), (1, 1), (1, 1), (1, 1), (1, 1))},
}
KERNEL_SIZE = (10, 4)
MOMENTUM = 0.96  # of the authors' code


@keras.saving.register_keras_serializable(package="triptych")
class SeparableFilters(Block):
    """Layer: depthwise 3x3, BN, ReLU, 1x1, BN, ReLU.  [B, T, F, C] -> [B, T/s, F/s, filters]"""

    def __init__(self, filters: int, strides: tuple[int, int] = (1, 1), **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.depthwise = layers.DepthwiseConv2D(3, strides, "same", dtype=dtype)
        self.norm1 = layers.BatchNormalization(momentum=MOMENTUM, dtype=dtype)
        self.pointwise = layers.Conv2D(filters, 1, dtype=dtype)
        self.norm2 = layers.BatchNormalization(momentum=MOMENTUM, dtype=dtype)

    def call(self, x):
        x = ops.relu(self.norm1(self.depthwise(x)))
        return ops.relu(self.norm2(self.pointwise(x)))


@keras.saving.register_keras_serializable(package="triptych")
class DSCNN(keras.Model):
    """DS-CNN.  [B, T, F] -> [B, K] logits, of any number of frames and coefficients

    Args:    strides: (frames, coefficients) of each layer, the first of which is not separable.
    Source:  Zhang 2017, and the authors' code for what the paper leaves open: padding, strides and
             a bias beside batch norm; 22,604, 135,032 and 410,700 parameters for 12 classes once
             that is folded in.
    Differs: batch norm has a gamma, which theirs leaves at 1.
    """

    def __init__(
        self,
        num_classes: int,
        filters: int = 64,
        strides: tuple[tuple[int, int], ...] = VARIANTS["ds_cnn_s"]["strides"],
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.strides = tuple(tuple(pair) for pair in strides)

        first, *others = self.strides
        self.stem = layers.Conv2D(filters, KERNEL_SIZE, first, "same")
        self.norm = layers.BatchNormalization(momentum=MOMENTUM)
        self.stages = [SeparableFilters(filters, pair) for pair in others]
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(num_classes)

    def call(self, spectrograms, training=None):
        x = ops.expand_dims(spectrograms, -1)  # [B, T, F, 1]
        x = ops.relu(self.norm(self.stem(x)))  # [B, T/2, F/2, 64]
        for block in self.stages:
            x = block(x)
        return self.head(self.pool(x))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "strides": self.strides,
        }
