"""The residual block of causal, dilated convolutions."""

import math

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.masking import masked
from models.layers.weight_norm import WeightNormConv1D


@keras.saving.register_keras_serializable(package="triptych")
class CausalResidual(Block):
    """Layer: relu(x + two causal convolutions of it).  [B, T, C] -> [B, T, filters]

    Each convolution is weight-normalised, with ReLU and dropout of whole channels. Position t
    sees t, t - d, ..., t - 2 (k - 1) d and nothing that follows, so that padding behind a text
    can't reach it, with a mask or without. Where the channels' number changes, the shortcut is a
    1x1 convolution.

    Args:    dilation: d, from one tap of a filter to the next; what `mask` leaves out is read as
             zeros.
    Source:  Bai 2018, figure 1b, arXiv 1803.01271.
    Differs: weights start as in He 2015, not as N(0, 0.01).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        dilation: int = 1,
        dropout_rate: float = 0.2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.filters = filters
        dtype = self.dtype_policy
        self.convs = [
            WeightNormConv1D(
                filters,
                kernel_size,
                gain=math.sqrt(2.0),
                padding="causal",
                dilation_rate=dilation,
                activation="relu",
                kernel_initializer="he_normal",
                dtype=dtype,
            )
            for _ in range(2)
        ]
        self.dropouts = [layers.SpatialDropout1D(dropout_rate, dtype=dtype) for _ in range(2)]

    def build(self, input_shape):
        self.shortcut = (
            layers.Conv1D(self.filters, 1, kernel_initializer="he_normal", dtype=self.dtype_policy)
            if input_shape[-1] != self.filters
            else None
        )
        super().build(input_shape)

    def call(self, x, mask=None):
        x = masked(x, mask)
        residual = x
        for conv, dropout in zip(self.convs, self.dropouts, strict=True):
            residual = dropout(conv(residual))
        return ops.relu(residual + (self.shortcut(x) if self.shortcut else x))
