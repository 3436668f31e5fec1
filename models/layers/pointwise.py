"""Convolution of each position by itself, at each position or every few."""

import keras
from keras import layers, ops

LANES = 16  # channels that a vector instruction takes at once


@keras.saving.register_keras_serializable(package="triptych")
class PointwiseConv2D(layers.Conv2D):
    """Layer: a 1x1 convolution.  As keras.layers.Conv2D(filters, 1, ...)

    Differs: where the channels don't fill whole vectors, it samples first and then doesn't
             stride, which is the same. TensorFlow 2.21's own gradient of a 1x1 that strides then
             writes beyond its buffer on CPUs, and the process dies, if one is lucky.
    """

    def convolution_op(self, inputs, kernel):
        height, width = self.strides
        if max(self.strides) > 1 and inputs.shape[-1] % LANES:
            return ops.conv(inputs[:, ::height, ::width], kernel, padding="valid")
        return super().convolution_op(inputs, kernel)
