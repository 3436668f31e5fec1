"""Sampling of a map that is blurred first, so that a shift of a pixel does not change it much."""

import math

import keras
import numpy as np
from keras import ops

from models.layers.block import Block


@keras.saving.register_keras_serializable(package="triptych")
class BlurPool(Block):
    """Layer: a fixed blur, then every stride-th position.  [B, H, W, C] -> [B, H/s, W/s, C]

    To make what strides anti-aliased, let it not stride, and put this behind: max pooling becomes
    keras.layers.MaxPooling2D(2, strides=1) and this; a convolution that strides becomes
    convolution, ReLU and this.

    Args:    kernel_size: of the blur, whose weights are a row of Pascal's triangle: 2 is a mean,
             3 the paper's Tri-3, 5 its Bin-5.
    Source:  Zhang 2019, section 3.2, arXiv 1904.11486; the authors' code mirrors the border.
    """

    def __init__(self, kernel_size: int = 3, stride: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.stride = stride
        row = np.array([math.comb(kernel_size - 1, i) for i in range(kernel_size)], np.float64)
        self.weights_2d = np.outer(row, row) / row.sum() ** 2

    def call(self, x):
        channels = x.shape[-1]
        kernel = np.repeat(self.weights_2d[:, :, np.newaxis, np.newaxis], channels, axis=2)
        sides = (self.kernel_size - 1) // 2, self.kernel_size // 2
        x = ops.pad(x, [(0, 0), sides, sides, (0, 0)], mode="reflect")
        kernel = ops.convert_to_tensor(kernel, dtype=self.compute_dtype)
        return ops.depthwise_conv(x, kernel, strides=self.stride, padding="valid")
