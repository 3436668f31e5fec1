"""Pooling as Caffe and PyTorch do it, where Keras does otherwise."""

import keras
from keras import layers, ops

from models.layers.block import Block


@keras.saving.register_keras_serializable(package="triptych")
class CeilMaxPool(Block):
    """Layer: max pooling whose last window may hang over the edge.  [B, H, W, C] -> [B, H', W', C]

    H' = ceil((H - pool_size) / stride) + 1, as Caffe counts and as PyTorch with ceil_mode; a
    last window that would start outside the input is left out. Where the windows fit, this is
    Keras's pooling with padding "valid".

    Args:    pool_size, stride: of height and width alike.
    """

    def __init__(self, pool_size: int, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = pool_size
        self.stride = stride
        self.pool = layers.MaxPooling2D(pool_size, stride, dtype=self.dtype_policy)

    def call(self, x):
        ends = [self._overhang(size) for size in x.shape[1:3]]
        if any(ends):
            edges = [(0, 0), *((0, end) for end in ends), (0, 0)]
            x = ops.pad(x, edges, constant_values=float("-inf"))
        return self.pool(x)

    def _overhang(self, size: int | None) -> int:
        """Rows to add: fewer than pool_size, so that each window holds something of the input.

        A size that isn't known yet gets all it may need; padding "valid" drops what it doesn't.
        """
        fits = size is not None and (size - self.pool_size) % self.stride == 0
        return 0 if fits else min(self.pool_size, self.stride) - 1
