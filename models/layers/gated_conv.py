"""Convolution with a gate: what passes is decided at each position by a second one."""

import keras
from keras import layers

from models.layers.block import Block
from models.layers.gating import Gate, gated


@keras.saving.register_keras_serializable(package="triptych")
class GatedConv2D(Block):
    """Layer: a convolution times the sigmoid of another.  [B, H, W, C] -> [B, H/s, W/s, filters]

    The two have one shape and own weights. As the first is linear, a gradient can pass it without
    being squashed, where the gate is open.

    Args:    gate: as of `gated`.
    Raises:  ValueError for another gate.
    Source:  Dauphin 2017, section 2, arXiv 1612.08083; van den Oord 2016, equation 2,
             arXiv 1606.05328, has GTUs in two dimensions.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        gate: Gate = "glu",
        padding: str = "same",
        dilation: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if gate not in ("glu", "gtu"):
            raise ValueError(f"gate must be 'glu' or 'gtu', not {gate!r}")
        self.gate = gate
        self.conv = layers.Conv2D(  # both at once: the first half, and its gates
            2 * filters,
            kernel_size,
            strides=stride,
            padding=padding,
            dilation_rate=dilation,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )

    def call(self, x):
        return gated(self.conv(x), self.gate)
