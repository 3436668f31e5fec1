"""A layer made of layers, that says their order once, in `call`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import layers

_unrolling: ContextVar[dict[int, Any] | None] = ContextVar("unrolling", default=None)


class Block(layers.Layer):
    """Layer: its `call` builds its layers and gives the output's shape, too.

    A block makes its layers in `__init__` and applies them in `call`, with keras.ops alone.
    Keras remembers the constructor's arguments for `get_config`, and hands `training` down.
    """

    def __call__(self, *args, **kwargs):
        outputs = _unrolling.get()
        if outputs is None:
            return super().__call__(*args, **kwargs)
        outputs[id(self)] = self.call(*args, **kwargs)
        return outputs[id(self)]

    def build(self, input_shape):
        self._symbolic(input_shape)

    def compute_output_shape(self, input_shape):
        if not self.built:
            self.build(input_shape)  # some blocks have to see their input to make their layers
        return self._symbolic(input_shape).shape

    def _symbolic(self, input_shape) -> keras.KerasTensor:
        return self.call(keras.KerasTensor(input_shape, dtype=self.compute_dtype))


@contextmanager
def unrolled() -> Iterator[dict[int, Any]]:
    """Within, a block's layers are applied in its place, as if there were no block.

    It gives id(block) -> what the block gave.
    """
    outputs: dict[int, Any] = {}
    token = _unrolling.set(outputs)
    try:
        yield outputs
    finally:
        _unrolling.reset(token)
