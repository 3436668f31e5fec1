"""A network as the plain sequence of its layers: what cost, receptive fields and surgery walk."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
from keras import layers, tree

from models.layers.block import unrolled


def unroll(
    network: keras.Model, input_shape: tuple[int | None, ...], dtype="float32"
) -> keras.Model:
    """The same network, the same weights, without blocks: a functional Keras model.

    Its operations are Keras's own layers and ops, in the order in which they run at inference.

    Args:    input_shape: of one example, as [H, W, C].
    """
    return _unrolled(network, input_shape, dtype)[0]


class Named(NamedTuple):
    model: keras.Model  # as of `unroll`
    outputs: dict[str, keras.KerasTensor]  # of each layer and block by its path, in running order
    steps: "list[Step]"  # of this very model


def unroll_named(
    network: keras.Model, input_shape: tuple[int | None, ...], dtype="float32"
) -> Named:
    """`unroll`, with what hangs where. Of a layer that is called twice it is the later output."""
    model, blocks = _unrolled(network, input_shape, dtype)
    names = {maker: [path] for maker, path in paths(network).items()}
    for block, output in blocks.items():
        if block in names and isinstance(output, keras.KerasTensor):
            names.setdefault(id(output._keras_history.operation), []).extend(names[block])
    trace = steps(model)
    outputs = {name: step.output for step in trace for name in names.get(id(step.operation), ())}
    made = {id(x) for step in trace for x in tree.flatten(step.output)}
    inputs = next(x for step in trace for x in step.inputs if id(x) not in made)
    return Named(keras.Model(inputs, trace[-1].output, name=network.name), outputs, trace)


def _unrolled(network, input_shape, dtype) -> tuple[keras.Model, dict[int, Any]]:
    inputs = keras.Input(input_shape, dtype=dtype)
    if not network.built:
        # By shapes alone: `network(inputs)` would trace it, which takes five times as long.
        own = type(network).build is not keras.Model.build
        network.build(inputs.shape) if own else network.call(inputs)
    with unrolled() as blocks:
        return keras.Model(inputs, network.call(inputs), name=network.name), blocks


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within, new layers get weights of a shape and no values: VGG takes no longer than LeNet.

    What Keras keeps for the session, as names and a global dtype policy, is new afterwards.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Keras would draw the values of all of them as soon as another scope ends.
        keras.utils.clear_session(free_memory=False)


class Step(NamedTuple):
    operation: keras.Operation
    inputs: list[keras.KerasTensor]
    output: keras.KerasTensor  # or a list of them, if it splits its input
    arguments: list[Any]  # of the call: tensors, and a kernel's variable, a slice, ...

    @property
    def weights(self) -> list[keras.Variable]:
        """The layer's own, or those that one of keras.ops was called with."""
        own = self.operation.weights if isinstance(self.operation, layers.Layer) else []
        return [*own, *(x for x in tree.flatten(self.arguments) if isinstance(x, keras.Variable))]


def steps(model: keras.Model) -> list[Step]:
    """What an unrolled network does, in order; a tensor is the same object wherever it is read.

    Branches come one after the other, each whole.
    """
    found = []

    def call(operation: keras.Operation, *args, **kwargs):
        inputs = [x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        arguments = [*args, *kwargs.values()]
        found.append(Step(operation, inputs, operation(*args, **kwargs), arguments))
        return found[-1].output

    replay(model, call)
    return _depth_first(found)


def _depth_first(found: list[Step]) -> list[Step]:
    makers = {id(x): step for step in found for x in tree.flatten(step.output)}
    ordered: dict[int, Step] = {}
    waiting = [found[-1]]
    while waiting:
        step = waiting[-1]
        before = [makers[id(x)] for x in step.inputs if id(x) in makers]
        missing = [maker for maker in before if id(maker) not in ordered]
        waiting.extend(reversed(missing))
        if not missing:
            ordered.setdefault(id(step), waiting.pop())
    return list(ordered.values())


def rule_for(operation: keras.Operation, rules: Mapping[str, Any]) -> Any:
    """The entry of its class's name, or of the nearest class that it inherits from; or None."""
    names = (kind.__name__ for kind in type(operation).__mro__)
    return next((rules[name] for name in names if name in rules), None)


def replay(
    model: keras.Model,
    call: Callable[..., Any],
    input_shape: tuple[int | None, ...] | None = None,
) -> keras.Model:
    """An unrolled network once more, with `call(operation, ...)` for each `operation(...)`.

    What `call` does not replace is the same layer, and shares its weights.

    Args:    input_shape: of one example, if it shall be another.
    """
    shape = model.input.shape[1:] if input_shape is None else input_shape
    return keras.models.clone_model(
        model,
        input_tensors=keras.Input(shape, dtype=model.input.dtype),
        clone_function=lambda operation: operation,
        call_function=call,
    )


def paths(network: keras.Model) -> dict[int, str]:
    """id(layer) -> where it hangs in the network, as "stages.0.conv1.norm"; of weights, too."""
    found = list(_walk(network, ()))
    # Blocks come before their parts, so that a weight is found where it is a layer's own.
    weights = {id(weight): path for path, layer in found for weight in layer.weights}
    return weights | {id(layer): path for path, layer in found}


def _walk(parent: layers.Layer, path: tuple[str, ...]) -> Iterator[tuple[str, layers.Layer]]:
    for name, value in vars(parent).items():
        if not name.startswith("_"):
            yield from _found(value, (*path, name))


def _found(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, layers.Layer]]:
    if isinstance(value, layers.Layer):
        yield ".".join(path), value
        yield from _walk(value, path)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _found(item, (*path, str(number)))
