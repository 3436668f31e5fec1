"""What most networks end with: pooling, dropout, one fully connected layer."""

from typing import Literal

import keras
from keras import layers

from models.layers.block import Block

Pooling = Literal["avg", "max"] | None
POOLS = {
    "avg": layers.GlobalAveragePooling2D,
    "max": layers.GlobalMaxPooling2D,
    None: layers.Flatten,
}


@keras.saving.register_keras_serializable(package="triptych")
class Head(Block):
    """Layer: features to logits.  [B, H, W, C] -> [B, K]

    Args:    pooling: over all positions, or None: a weight for each of them (Lin 2014,
             section 3.2, arXiv 1312.4400, says why one would rather pool);
             include_top: False gives the embedding [B, C], or with pooling None the features.
    Raises:  ValueError for another pooling.
    """

    def __init__(
        self,
        num_classes: int,
        pooling: Pooling = "avg",
        include_top: bool = True,
        dropout_rate: float = 0.0,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_pooling(pooling)
        dtype = self.dtype_policy
        self.pool = POOLS[pooling](dtype=dtype) if pooling or include_top else None
        self.dropout = layers.Dropout(dropout_rate, dtype=dtype) if dropout_rate else None
        self.dense = (
            layers.Dense(num_classes, kernel_initializer=kernel_initializer, dtype=dtype)
            if include_top
            else None
        )

    def call(self, features):
        x = self.pool(features) if self.pool else features
        if not self.dense:
            return x
        return self.dense(self.dropout(x) if self.dropout else x)


def check_pooling(pooling: Pooling) -> None:
    if pooling not in POOLS:
        raise ValueError(
            f"pooling must be 'avg', 'max' or None (no global pooling), not {pooling!r}"
        )
