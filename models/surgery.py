"""A trained network made into another one that computes the same: for larger pictures, or faster.

What comes out is made for inference, and shares its weights with the network that it came from,
but for what is folded. `recalibrate_batch_norm` alone changes the network itself.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache

import keras
import numpy as np
from keras import layers, ops

from models.graph import Step, replay, steps, unroll

# What makes a map a vector, and what does to a vector the same as to each position of a map.
ENDS = (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
LOCAL = (layers.Dense, layers.Activation, layers.ReLU, layers.Dropout, layers.Identity)
MANY_STRIDES = 2**6 * 3**2 * 5 * 7  # pixels; each stride that a network has divides it


def to_fully_convolutional(network: keras.Model, input_shape: tuple[int, int, int]) -> keras.Model:
    """The network at all places of a larger picture at once.  [B, H, W, C] -> [B, h, w, K] logits

    The first fully connected layer becomes a convolution as large as the map that it saw, the
    others 1x1; global pooling becomes pooling over windows of that map's size. The weights are the
    network's own. A position of the output is the score of one window of `input_shape`, `stride`
    pixels from the next, and at `input_shape` itself the output is [B, 1, 1, K].

    If no padding lies inside the network, it is exactly what the windows score one by one. Where
    padding does, a window alone sees zeros at its borders, and here what lies beyond: VGG-16 with
    random weights, at 384x384, differs by 0.29 of the scores' root mean square. A layer that looks
    at the whole picture (squeeze and excitation) looks at the larger one, too.

    Args:    input_shape: [H, W, C], of the network itself.
    Raises:  ValueError if the network does not end in flattening or global pooling with nothing
             after it but fully connected layers, dropout and what acts on each number alone; or
             if its layers are bound to their size.
    Source:  Sermanet 2014, section 3.5, arXiv 1312.6229; Long 2015, section 3.1, arXiv 1411.4038.
    """
    model = unroll(network, input_shape)
    end, *after = _ending(model)
    _, *size, _ = end.inputs[0].shape
    replaced = {}
    if not isinstance(end.operation, layers.Flatten):
        average = isinstance(end.operation, layers.GlobalAveragePooling2D)
        pool = layers.AveragePooling2D if average else layers.MaxPooling2D
        replaced[id(end.operation)] = pool(size, strides=1, dtype=end.operation.dtype_policy)
        size = (1, 1)
    for operation in (step.operation for step in (end, *after)):
        if isinstance(operation, layers.Flatten):
            replaced[id(operation)] = _nothing
        elif isinstance(operation, layers.Dense):
            replaced[id(operation)] = DenseAsConvolution(operation, size)
            size = (1, 1)

    result = _replay(model, replaced, (None, None, input_shape[-1]))
    if _positions(result, input_shape) != (1, 1):
        raise ValueError(f"{network.name} is more than a map and fully connected layers")
    stride(result, input_shape)
    return result


def stride(network: keras.Model, input_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Pixels from a position of a fully convolutional network's output to the next, (y, x)."""
    height, width, channels = input_shape
    # So large a picture has one position more for each stride, whatever the network rounds.
    large = (height + MANY_STRIDES, width + MANY_STRIDES, channels)
    try:
        rows, columns = _positions(network, large)
    except ValueError:  # its layers' shapes do not fit one another
        rows, columns = 1, 1
    if 1 in (rows, columns):
        raise ValueError(
            f"{network.name} has one size of input only: a layer of it pools the whole map, or has"
            " the map's size written into it"
        )
    return MANY_STRIDES // (rows - 1), MANY_STRIDES // (columns - 1)


def _positions(network: keras.Model, input_shape: tuple[int, int, int]) -> tuple[int, int]:
    outputs = network.compute_output_spec(keras.KerasTensor((1, *input_shape)))
    return tuple(outputs.shape[1:3])


def _ending(model: keras.Model) -> list[Step]:
    """From the step that makes a map a vector to the output."""
    trace = steps(model)
    makers = {id(step.output): step for step in trace}
    ending = [trace[-1]]
    while not (isinstance(ending[0].operation, ENDS) and ending[0].inputs[0].ndim == 4):
        step = ending[0]
        maker = makers.get(id(step.inputs[0])) if _is_local(step) else None
        if maker is None:
            raise ValueError(
                f"{model.name} ends in {step.operation.name}: only what flattens or pools its last"
                " map, and then has nothing but fully connected layers, dropout and activations,"
                " becomes fully convolutional"
            )
        ending.insert(0, maker)
    return ending


def _is_local(step: Step) -> bool:
    """Whether it can do to each position of a map what it does to a vector."""
    if isinstance(step.operation, layers.Layer):
        return isinstance(step.operation, (*LOCAL, layers.Flatten))
    same_shape = [x.shape for x in step.inputs] == [step.output.shape]
    return same_shape and getattr(step.operation, "axis", -1) in (None, -1)


class DenseAsConvolution(layers.Conv2D):
    """Layer: a fully connected layer at each place.  [B, H, W, C] -> [B, H-h+1, W-w+1, units]

    Args:    dense: whose weights it has; kernel_size: (h, w), of the map that was flattened.
    """

    def __init__(self, dense: layers.Dense, kernel_size: tuple[int, int]):
        super().__init__(
            dense.units,
            kernel_size,
            activation=dense.activation,
            use_bias=dense.use_bias,
            name=dense.name,
            dtype=dense.dtype_policy,
        )
        self.dense = dense

    def build(self, input_shape):
        self.bias = self.dense.bias

    @property
    def kernel(self):
        # Flattening goes row by row, and in a position channel by channel, as a kernel does.
        return ops.reshape(self.dense.kernel, (*self.kernel_size, -1, self.filters))


# Those whose last kernel has the output's channels as its last axis, or its last two.
FOLDABLE = (layers.Conv1D, layers.Conv2D, layers.Dense, layers.SeparableConv2D)
FOLDABLE_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)


def fold_batch_norm(network: keras.Model, input_shape: tuple[int | None, ...]) -> keras.Model:
    """The network with each batch norm inside the convolution before it, where that is possible.

    At inference, batch norm multiplies by one number a channel and adds another, which the
    convolution's kernel and bias can do. It stays where something lies between, as an activation,
    a concatenation or a residual sum (pre-activation, DenseNet), and where a convolution's output
    is read elsewhere too.

    Args:    input_shape: of one example.
    Source:  Jacob 2018, section 3.2, arXiv 1712.05877.
    """
    model = unroll(network, input_shape)
    trace = steps(model)
    makers = {id(step.output): step for step in trace}
    uses = Counter(id(step.operation) for step in trace)
    readers = Counter(id(x) for step in trace for x in step.inputs)

    replaced = {}
    for norm in trace:
        if not isinstance(norm.operation, layers.BatchNormalization):
            continue
        (x,) = norm.inputs
        maker = makers.get(id(x))
        if maker is None or readers[id(x)] > 1 or norm.operation.axis not in (-1, x.ndim - 1):
            continue
        if uses[id(norm.operation)] > 1 or uses[id(maker.operation)] > 1:
            continue
        if not isinstance(maker.operation, FOLDABLE + FOLDABLE_DEPTHWISE):
            continue
        if maker.operation.activation is not keras.activations.linear:
            continue
        replaced[id(maker.operation)] = _folded(maker, norm.operation)
        replaced[id(norm.operation)] = _nothing

    return _replay(model, replaced)


def _folded(step: Step, norm: layers.BatchNormalization) -> layers.Layer:
    layer = step.operation
    folded = type(layer).from_config({**layer.get_config(), "use_bias": True})
    folded.build(step.inputs[0].shape)

    kernels = [_array(x) for x in layer.get_weights()]
    bias = kernels.pop() if layer.use_bias else 0.0
    factor = 1 / np.sqrt(_array(norm.moving_variance) + norm.epsilon)
    factor = factor * _array(norm.gamma) if norm.scale else factor
    bias = (bias - _array(norm.moving_mean)) * factor
    bias = bias + _array(norm.beta) if norm.center else bias
    depthwise = isinstance(layer, FOLDABLE_DEPTHWISE)
    kernels[-1] = kernels[-1] * (factor.reshape(kernels[-1].shape[-2:]) if depthwise else factor)
    folded.set_weights([*kernels, bias])
    return folded


def _array(values) -> np.ndarray:
    return ops.convert_to_numpy(values).astype(np.float64)


def recalibrate_batch_norm(network: keras.Model, data: Iterable) -> None:
    """Set each batch norm's statistics to those of the data, in place of running ones.

    They are what batch norm sees as it trains, each batch normalised by its own mean and variance,
    but without dropout, as at inference. The variance is the unbiased one, by m / (m - 1), where m
    numbers of a channel are in a batch; the running variance that Keras keeps has no such factor.

    Args:    data: batches as the network takes them, or (batch, ...) pairs of which the first
             counts; each of more than one number a channel.
    Raises:  ValueError if there is no batch, or none of more than one number a channel.
    Source:  Ioffe & Szegedy 2015, algorithm 2, step 10, arXiv 1502.03167.
    Differs: batches of unlike size count by their m; if all are of one size, it is the paper's
             average.
    """

    @cache
    def observer(shape, dtype):
        return _observer(unroll(network, shape, dtype))

    totals = {}  # id(norm) -> [norm, sum of m, sum of m - 1, sum of m mean, sum of m variance]
    batches = 0
    for batch in data:
        x = ops.convert_to_numpy(batch[0] if isinstance(batch, tuple | list) else batch)
        norms, observe = observer(x.shape[1:], x.dtype.name)
        batches += 1
        if not norms:
            continue
        for norm, m, mean, variance in zip(norms, *observe.predict_on_batch(x), strict=True):
            m = float(m)
            sums = m, m - 1, m * _array(mean), m * _array(variance)
            _, *before = totals.setdefault(id(norm), [norm, 0, 0, 0, 0])
            totals[id(norm)] = [norm, *(a + b for a, b in zip(before, sums, strict=True))]
    if not batches:
        raise ValueError("batch norm's statistics need at least one batch, and there is none")
    for norm, _, degrees, _, _ in totals.values():
        if not degrees:
            raise ValueError(f"{norm.name} saw one number a channel: give it larger batches")
    for norm, count, degrees, mean, variance in totals.values():
        norm.moving_mean.assign(mean / count)
        norm.moving_variance.assign(variance / degrees)


def _observer(model: keras.Model) -> tuple[list[layers.BatchNormalization], keras.Model]:
    """The batch norms in order, and a network that gives (m, mean, variance) of what each sees."""
    norms, seen = [], ([], [], [])

    def call(operation, *args, **kwargs):
        if not isinstance(operation, layers.BatchNormalization):
            return operation(*args, **kwargs)
        x = ops.cast(args[0], "float32")
        axis = operation.axis % x.ndim
        others = [i for i in range(x.ndim) if i != axis]
        mean, variance = ops.moments(x, others)
        norms.append(operation)
        for values, value in zip(seen, (ops.size(x) / x.shape[axis], mean, variance), strict=True):
            values.append(value)
        y = ops.batch_normalization(
            x, mean, variance, axis, operation.beta, operation.gamma, operation.epsilon
        )
        return ops.cast(y, operation.compute_dtype)

    replayed = replay(model, call)
    return norms, keras.Model(replayed.inputs, seen) if norms else replayed


def _replay(model: keras.Model, replaced: dict, input_shape=None) -> keras.Model:
    """Args: replaced: id(operation) -> what is called in its place."""

    def call(operation, *args, **kwargs):
        return replaced.get(id(operation), operation)(*args, **kwargs)

    return replay(model, call, input_shape)


def _nothing(x, **options):
    return x
