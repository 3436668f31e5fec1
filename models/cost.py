"""What a network costs, step by step: parameters, multiply-adds, memory.

A multiply-add is one weight times one value, added up: what papers count, and often call a FLOP.
Convolutions and fully connected layers have them; biases, batch norm, activations, pooling and
sums count none.

Memory is for one example in float32, by rules of thumb: what an activation, batch norm, dropout
or reshape gives lies in its input's place, if nothing else reads that. Training keeps each value
and its gradient; of each weight the value, the gradient and the optimiser's averages.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
from keras import tree

from models.geometry import Field
from models.graph import Step, paths, rule_for, steps, unroll
from models.receptive import RULES, receptive_fields

BYTES = 4  # of a float32
# Numbers kept for each trained weight: itself, its gradient, and the averages of one or both.
OPTIMIZERS = {"sgd_momentum": 3, "adam": 4}
# At inference, the same numbers in the same order.
UNCHANGED = ("InputLayer", "Identity", "Dropout", "Reshape", "Flatten", "ExpandDims", "Squeeze")


@dataclass(frozen=True)
class StepCost:
    name: str  # where it hangs in the network, or what it does
    kind: str  # Keras's name of it
    output: tuple[int, ...]  # its shape, batch left out
    fields: tuple[Field, ...]  # the receptive field along each axis of the input
    parameters: int
    trainable: int
    multiply_adds: int
    forward_bytes: int  # 0: in its input's place

    @property
    def training_bytes(self) -> int:
        return 2 * self.forward_bytes


@dataclass(frozen=True)
class Cost:
    input_shape: tuple[int, ...]
    steps: tuple[StepCost, ...]  # at inference
    parameters: int  # of training too, as auxiliary heads
    trainable: int
    peak_bytes: int  # of activations, at inference

    @property
    def multiply_adds(self) -> int:
        return sum(step.multiply_adds for step in self.steps)

    @property
    def forward_bytes(self) -> int:
        return sum(step.forward_bytes for step in self.steps)

    @property
    def weights_bytes(self) -> int:
        return BYTES * self.parameters

    @property
    def training_bytes(self) -> dict[str, int]:
        """By optimiser: activations and weights, for a batch of one."""
        activations = sum(step.training_bytes for step in self.steps)
        fixed = self.parameters - self.trainable
        return {
            name: activations + BYTES * (copies * self.trainable + fixed)
            for name, copies in OPTIMIZERS.items()
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "input_shape": self.input_shape,
            "parameters": self.parameters,
            "trainable_parameters": self.trainable,
            "multiply_adds": self.multiply_adds,
            "weights_bytes": self.weights_bytes,
            "forward_bytes": self.forward_bytes,
            "peak_inference_bytes": self.peak_bytes,
            "training_bytes": self.training_bytes,
            "steps": [
                asdict(step)
                | {
                    "fields": [field._asdict() for field in step.fields],
                    "training_bytes": step.training_bytes,
                }
                for step in self.steps
            ],
        }


def cost(network: keras.Model, input_shape: tuple[int, ...], dtype: str = "float32") -> Cost:
    """What a network costs for one example.

    Args:    input_shape: of the example, every size known; dtype: "int32" for token numbers.
    Raises:  NotImplementedError for a layer whose multiply-adds have no rule here.
    """
    done = steps(unroll(network, input_shape, dtype))
    names = paths(network)
    fields = receptive_fields(done)
    buffers = _buffers(done)
    made = {id(x) for step in done for x in tree.flatten(step.output)}
    source = next(x for step in done for x in step.inputs if id(x) not in made)
    field = fields[id(source)]
    rows = [StepCost("input", "InputLayer", source.shape[1:], field, 0, 0, 0, _bytes(source))]
    weights: set[int] = set()
    for step in done:
        new = [w for w in step.weights if id(w) not in weights]
        weights.update(map(id, new))
        outputs = tree.flatten(step.output)
        rows.append(
            StepCost(
                name=_name(step, names),
                kind=type(step.operation).__name__,
                output=outputs[0].shape[1:],
                fields=fields[id(outputs[0])],
                parameters=_count(new),
                trainable=_count(w for w in new if w.trainable),
                multiply_adds=_multiply_adds(step),
                forward_bytes=sum(_bytes(x) for x in outputs if buffers[id(x)] == id(x)),
            )
        )
    return Cost(
        input_shape=tuple(input_shape),
        steps=tuple(rows),
        parameters=_count(network.weights),
        trainable=_count(network.trainable_weights),
        peak_bytes=_peak(done, buffers),
    )


def _name(step: Step, names: Mapping[int, str]) -> str:
    for thing in (step.operation, *step.weights):
        if id(thing) in names:
            return names[id(thing)]
    return step.operation.name.rstrip("0123456789").rstrip("_")


def _count(weights: Iterable[keras.Variable]) -> int:
    return sum(math.prod(w.shape) for w in weights)


def _bytes(x: keras.KerasTensor) -> int:
    return BYTES * math.prod(x.shape[1:])


def _positions(shape: Sequence[int]) -> int:
    return math.prod(shape[1:-1])


def _convolution(step: Step) -> int:
    """At each position of the output every weight once; grouped kernels have fewer of them."""
    return _positions(step.output.shape) * math.prod(_kernel(step).shape)


def _kernel(step: Step) -> Any:
    layer = isinstance(step.operation, keras.layers.Layer)
    return step.operation.kernel if layer else step.arguments[1]


def _separable(step: Step) -> int:
    op = step.operation
    weights = math.prod(op.depthwise_kernel.shape) + math.prod(op.pointwise_kernel.shape)
    return _positions(step.output.shape) * weights


def _transposed(step: Step) -> int:
    return _positions(step.inputs[0].shape) * math.prod(_kernel(step).shape)


def _dense(step: Step) -> int:
    return math.prod(step.output.shape[1:]) * step.inputs[0].shape[-1]


def _none(step: Step) -> int:
    return 0


MULTIPLY_ADDS: dict[str, Callable[[Step], int]] = {
    "BaseConv": _convolution,
    "Conv": _convolution,
    "BaseDepthwiseConv": _convolution,
    "DepthwiseConv": _convolution,
    "BaseSeparableConv": _separable,
    "BaseConvTranspose": _transposed,
    "Dense": _dense,
    "Matmul": _dense,
    "Embedding": _none,
}


def _multiply_adds(step: Step) -> int:
    rule = rule_for(step.operation, MULTIPLY_ADDS)
    if rule:
        return rule(step)
    layer = isinstance(step.operation, keras.layers.Layer)
    if layer and any(len(w.shape) > 1 for w in step.weights):
        raise NotImplementedError(f"no rule for the multiply-adds of {type(step.operation)}")
    return 0


def _buffers(done: Sequence[Step]) -> dict[int, int]:
    """id(tensor) -> id of the tensor in whose place it lies, which may be its own."""
    same = {id(x): id(x) for step in done for x in step.inputs}
    for step in done:
        for x in tree.flatten(step.output):
            same[id(x)] = same[id(step.inputs[0])] if _gives_its_input(step) else id(x)
    readers = Counter(
        same[id(x)] for step in done if not _gives_its_input(step) for x in step.inputs
    )
    buffers = {id(x): id(x) for step in done for x in step.inputs}
    for step in done:
        source = step.inputs[0]
        alone = len(step.inputs) == 1 and readers[same[id(source)]] == 1
        pointwise = not rule_for(step.operation, RULES)
        for x in tree.flatten(step.output):
            over = alone and pointwise and _bytes(x) == _bytes(source)
            kept = over or _gives_its_input(step)
            buffers[id(x)] = buffers[id(source)] if kept else id(x)
    return buffers


def _gives_its_input(step: Step) -> bool:
    return bool(rule_for(step.operation, dict.fromkeys(UNCHANGED, True)))


def _peak(done: Sequence[Step], buffers: dict[int, int]) -> int:
    """The most that lies in memory at once: what a step reads and gives, and what waits."""
    touched = [
        {buffers[id(x)]: _bytes(x) for x in (*step.inputs, *tree.flatten(step.output))}
        for step in done
    ]
    last = {buffer: number for number, sizes in enumerate(touched) for buffer in sizes}
    peak, alive = 0, {}
    for number, sizes in enumerate(touched):
        alive |= sizes
        peak = max(peak, sum(alive.values()))
        alive = {buffer: size for buffer, size in alive.items() if last[buffer] > number}
    return peak
