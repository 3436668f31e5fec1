"""Pooling along time, for texts that are padded to one length.

The mask says which positions are text. Each layer gives what it would give for the text alone.
"""

from typing import Literal

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.masking import masked

TimePooling = Literal["avg", "max", "last"]
LOWEST = float("-inf")


def _lowered(x, mask):
    """Positions that no maximum takes, unless there are no others."""
    return x if mask is None else ops.where(ops.expand_dims(mask, -1), x, LOWEST)


@keras.saving.register_keras_serializable(package="triptych")
class GlobalTimePooling(Block):
    """Layer: one vector for a whole text, 0 for an empty one.  [B, T, C], mask [B, T] -> [B, C]

    Args:    pooling: "avg", "max", or "last": the last position, which after causal
             convolutions has seen all the others.
    Raises:  ValueError for another pooling.
    Differs: from keras.layers.GlobalMaxPooling1D, which has no mask, and from its average,
             which isn't a number where the mask is empty.
    """

    def __init__(self, pooling: TimePooling = "avg", **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        if pooling not in ("avg", "max", "last"):
            raise ValueError(f"pooling must be 'avg', 'max' or 'last', not {pooling!r}")
        self.pooling = pooling

    def call(self, x, mask=None):
        mask = ops.ones_like(x[..., 0], "bool") if mask is None else mask
        real = ops.cast(mask, x.dtype)
        if self.pooling == "avg":
            count = ops.maximum(ops.sum(real, axis=1, keepdims=True), 1)
            return ops.sum(masked(x, mask), axis=1) / count
        if self.pooling == "max":
            return masked(ops.max(_lowered(x, mask), axis=1), ops.any(mask, axis=1))
        following = ops.pad(mask[:, 1:], [(0, 0), (0, 1)])
        last = ops.logical_and(mask, ops.logical_not(following))
        return ops.sum(masked(x, last), axis=1)

    def compute_mask(self, inputs, previous_mask=None):
        return None  # no position is left


@keras.saving.register_keras_serializable(package="triptych")
class KMaxPooling(Block):
    """Layer: each channel's k largest values, in the order of the text.  [B, T, C] -> [B, k, C]

    A text of fewer than k positions has zeros behind its values. Of equal values the earlier
    ones are taken.

    Source:  Kalchbrenner 2014, arXiv 1404.2188.
    """

    def __init__(self, k: int, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.k = k

    def call(self, x, mask=None):
        x = ops.pad(_lowered(x, mask), [(0, 0), (0, self.k), (0, 0)], constant_values=LOWEST)
        x = ops.swapaxes(x, 1, 2)  # [B, C, T]
        _, places = ops.top_k(x, self.k)
        largest = ops.take_along_axis(x, ops.sort(places, axis=-1), axis=-1)
        largest = ops.where(ops.equal(largest, LOWEST), 0.0, largest)
        return ops.swapaxes(largest, 1, 2)

    def compute_mask(self, inputs, previous_mask=None):
        return None  # all k positions hold something, zeros if need be


@keras.saving.register_keras_serializable(package="triptych")
class TimeMaxPool(Block):
    """Layer: max pooling whose windows start where the text does.  [B, T, C] -> [B, T/s, C]

    Window i starts at position i * stride, and may hang over the end: there are ceil(T / s) of
    them, and their mask is the input's at each window's start, `mask[:, ::stride]`.

    Args:    pool_size, stride: positions.
    Differs: from keras.layers.MaxPooling1D with padding "same", whose first window moves with
             the length of the padding.
    """

    def __init__(self, pool_size: int, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.pool_size = pool_size
        self.stride = stride
        self.pool = layers.MaxPooling1D(pool_size, stride, dtype=self.dtype_policy)

    def call(self, x, mask=None):
        ends = [(0, 0), (0, self.pool_size - 1), (0, 0)]
        pooled = self.pool(ops.pad(_lowered(x, mask), ends, constant_values=LOWEST))
        return masked(pooled, self.compute_mask(x, mask))

    def compute_mask(self, inputs, previous_mask=None):
        return None if previous_mask is None else previous_mask[:, :: self.stride]
