"""A gate for each channel, from the mean of all of them."""

import keras
from keras import layers

from models.layers.block import Block


@keras.saving.register_keras_serializable(package="triptych")
class SqueezeExcite(Block):
    """Layer: each channel times a number in [0, 1].  [B, H, W, C] -> [B, H, W, C]

    Args:    squeezed_filters: C / r, of the small layer between; gate: "sigmoid" as the paper,
             "hard_sigmoid" as MobileNet v3.
    Source:  Hu 2018, section 3, equations 2 to 4, arXiv 1709.01507.
    """

    def __init__(self, squeezed_filters: int, gate: str = "sigmoid", **kwargs):
        super().__init__(**kwargs)
        self.pool = layers.GlobalAveragePooling2D(keepdims=True, dtype=self.dtype_policy)
        self.squeeze = layers.Conv2D(
            squeezed_filters,
            1,
            activation="relu",
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )
        self.gate = gate

    def build(self, input_shape):
        self.excite = layers.Conv2D(
            input_shape[-1], 1, activation=self.gate, dtype=self.dtype_policy
        )
        super().build(input_shape)

    def call(self, x):
        return x * self.excite(self.squeeze(self.pool(x)))
