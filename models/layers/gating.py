"""Gates: one half of the channels says how much of the other half goes on."""

from typing import Literal

import keras
from keras import ops

from models.layers.block import Block
from models.layers.masking import masked
from models.layers.weight_norm import WeightNormConv1D

Gate = Literal["glu", "gtu"]


def gated(x, gate: Gate = "glu"):
    """A * sigmoid(B) ("glu"), or tanh(A) * sigmoid(B) ("gtu").  [..., 2C] -> [..., C]

    A is the first half of the channels. A GLU has a way through that no derivative of a
    saturating function scales down: d(A * sigmoid(B)) has dA * sigmoid(B) in it.

    Raises:  ValueError for another gate.
    Source:  Dauphin 2017, sections 2 and 3, arXiv 1612.08083; GTU: van den Oord 2016,
             equation 2, arXiv 1606.05328.
    """
    if gate not in ("glu", "gtu"):
        raise ValueError(f"gate must be 'glu' or 'gtu', not {gate!r}")
    a, b = ops.split(x, 2, axis=-1)
    return (a if gate == "glu" else ops.tanh(a)) * ops.sigmoid(b)


@keras.saving.register_keras_serializable(package="triptych")
class GatedConv1D(Block):
    """Layer: two convolutions along time, one the gate of the other.  [B, T, C] -> [B, T, filters]

    Both are one of 2 filters channels here, A's first. The filters are weight-normalised.

    Args:    gate: as of `gated`; padding: "causal", so that a position sees itself and what came
             before, or "same"; what `mask` leaves out is read as zeros.
    Raises:  ValueError for another gate.
    Source:  Dauphin 2017, section 2.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        gate: Gate = "glu",
        dilation: int = 1,
        padding: Literal["causal", "same"] = "causal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.gate = gate
        self.conv = WeightNormConv1D(
            2 * filters,
            kernel_size,
            padding=padding,
            dilation_rate=dilation,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )

    def call(self, x, mask=None):
        return gated(self.conv(masked(x, mask)), self.gate)
