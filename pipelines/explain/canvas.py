"""A network as seen from inputs within [0, 1]: what all synthesis paints on.

0 is black, or silence, and 1 is white, or full loudness, so that "few pixels" and "8 grey levels"
mean something, and a result is a picture as it stands.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from models.graph import replay


def painted(
    model: keras.Model,
    outputs: keras.KerasTensor | Mapping[str, keras.KerasTensor],
    scale: float | Sequence[float] = 1.0,
    offset: float | Sequence[float] = 0.0,
    size: tuple[int | None, ...] | None = None,
) -> keras.Model:
    """[B, ...] within [0, 1] -> the output, or each by its name.

    Args:    model: functional; outputs: tensors of it; scale, offset: example = scale * input +
             offset, for all channels or one each; size: [H, W] of other inputs than the model's
             own, each may be None.
    Raises:  ValueError if the layers up to there can't have that size.
    """
    looked = keras.Model(model.input, outputs)
    shape = tuple(model.input.shape[1:])
    if size is not None:
        shape = (*size, *shape[len(size) :])
        looked = replay(
            looked, lambda operation, *args, **kwargs: operation(*args, **kwargs), shape
        )
    canvas = keras.Input(shape)
    scales = [np.asarray(numbers, np.float32).tolist() for numbers in (scale, offset)]
    return keras.Model(canvas, looked(keras.layers.Rescaling(*scales)(canvas)))
