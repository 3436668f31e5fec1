"""A network as the plain sequence of its layers: what cost, receptive fields and surgery walk."""

from collections.abc import Iterator

import keras
from keras import layers

from models.layers.block import unrolled


def unroll(
    network: keras.Model, input_shape: tuple[int | None, ...], dtype="float32"
) -> keras.Model:
    """The same network, the same weights, without blocks: a functional Keras model.

    Its operations are Keras's own layers and ops, in the order in which they run at inference.

    Args:    input_shape: of one example, as [H, W, C].
    """
    inputs = keras.Input(input_shape, dtype=dtype)
    if not network.built:
        network(inputs)
    with unrolled():
        return keras.Model(inputs, network.call(inputs), name=network.name)


def paths(network: keras.Model) -> dict[int, str]:
    """id(layer) -> where it hangs in the network, as "stages.0.conv1.norm"."""
    return {id(layer): path for path, layer in _walk(network, ())}


def _walk(parent: layers.Layer, path: tuple[str, ...]) -> Iterator[tuple[str, layers.Layer]]:
    for name, value in vars(parent).items():
        if name.startswith("_"):
            continue
        if isinstance(value, layers.Layer):
            yield from _found(value, (*path, name))
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                if isinstance(item, layers.Layer):
                    yield from _found(item, (*path, name, str(number)))


def _found(layer: layers.Layer, path: tuple[str, ...]) -> Iterator[tuple[str, layers.Layer]]:
    yield ".".join(path), layer
    yield from _walk(layer, path)
