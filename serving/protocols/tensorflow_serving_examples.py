"""Lists of tf.Example -> what an endpoint takes.

TensorFlow Serving hands the serialised examples to the graph. So it is here for a foreign
SavedModel; our own artefacts take a file or a text, which is looked up in the example.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput
from serving.protocols.wire import packed
from serving.runtime.endpoint import STRING, Endpoint, Tensors, TensorSpec, names, shape_text
from serving.runtime.servable import Servable

# Of many features with bytes, the first of these that an example has is the input.
ENCODED = ("inputs", "image/encoded", "audio/encoded", "image", "audio", "text", "encoded")
MAX_EXAMPLES = 2**16  # of a call to a foreign model
VALUES = 1  # the number of FloatList's field


class Call(NamedTuple):
    endpoint: str
    inputs: Tensors
    examples: int


class Limits(NamedTuple):
    """
    encoded:     examples of a call whose inputs are files or texts.
    total_bytes: of all examples, each with its context.
    """

    encoded: int
    total_bytes: int


def call_with(servable: Servable, endpoint: Endpoint, given: Any, limits: Limits) -> Call:
    """
    Args:   given: an `Input` message.
    Raises: InvalidInput, naming the first example that is wrong.
    """
    raw = endpoint.name in servable.raw_endpoints
    examples = _examples(given, limits.encoded if raw else MAX_EXAMPLES, limits.total_bytes)
    ((name, spec),) = endpoint.inputs.items()
    if not raw:
        if spec.dtype == STRING:
            value = np.empty(len(examples), object)
            value[:] = [example.SerializeToString() for example in examples]
            return Call(endpoint.name, {name: value}, len(examples))
        return Call(endpoint.name, {name: _numbers(examples, spec)}, len(examples))
    if any(_of_kind(example, "bytes_list") for example in examples):
        value = np.empty(len(examples), object)
        value[:] = [_encoded(example, i) for i, example in enumerate(examples)]
        return Call(endpoint.name, {name: value}, len(examples))
    numeric = servable.endpoints[servable.default_endpoint]
    ((name, spec),) = numeric.inputs.items()
    return Call(numeric.name, {name: _numbers(examples, spec)}, len(examples))


def _examples(given: Any, most: int, most_bytes: int) -> Sequence[Any]:
    """Each with what the context has for all: as if their bytes were joined."""
    kind = given.WhichOneof("kind")
    examples = getattr(given, kind).examples if kind else ()
    if not len(examples):
        raise InvalidInput("Input is empty.")
    if len(examples) > most:
        raise InvalidInput(
            f"the request has {len(examples):,} examples, and {most:,} are allowed: send several "
            "requests, or raise TRIPTYCH_MAX_INPUTS_PER_REQUEST"
        )
    if kind == "example_list":
        return list(examples)
    context = given.example_list_with_context.context
    shared_bytes = context.ByteSize() * len(examples)
    if shared_bytes > most_bytes:
        raise InvalidInput(
            f"the context is {shared_bytes:,} bytes for {len(examples):,} examples, and "
            f"{most_bytes:,} are allowed: send fewer examples at once"
        )
    joined = []
    for example in examples:
        whole = type(example)()
        whole.CopyFrom(context)
        whole.MergeFrom(example)
        joined.append(whole)
    return joined


def _of_kind(example: Any, kind: str) -> dict[str, Any]:
    features = example.features.feature
    return {name: features[name] for name in features if features[name].WhichOneof("kind") == kind}


def _encoded(example: Any, index: int) -> bytes:
    features = _of_kind(example, "bytes_list")
    name = _choose(features, ENCODED, f"example {index}", "bytes")
    values = features[name].bytes_list.value
    if len(values) != 1:
        raise InvalidInput(
            f"example {index} has {len(values)} values in {name[:100]!r}: one file or text is taken"
        )
    encoded: bytes = values[0]
    return encoded


def _choose(features: dict[str, Any], known: Sequence[str], where: str, kind: str) -> str:
    if len(features) == 1:
        return next(iter(features))
    for name in known:
        if name in features:
            return name
    raise InvalidInput(
        f"{where} has {names(features)} with {kind}: send one such feature, or call it {known[0]!r}"
    )


def _numbers(examples: Sequence[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    """[N, ...]: one feature of each example, in the shape that the endpoint takes."""
    kind = "float_list" if spec.dtype.kind == "f" else "int64_list"
    if spec.dtype.kind not in "fiu" or not spec.shape:
        raise InvalidInput(f"input {spec.name!r} is {spec}, which no tf.Example can hold")
    rows = [_row(example, i, kind, spec) for i, example in enumerate(examples)]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise InvalidInput(
            "the examples of one request have the same size, and these have "
            + ", ".join(sorted(shape_text(shape) for shape in shapes)[:8])
        )
    return np.stack(rows)


def _row(example: Any, index: int, kind: str, spec: TensorSpec) -> npt.NDArray[Any]:
    where = f"example {index}"
    features = _of_kind(example, kind)
    name = _choose(features, (spec.name,), where, "numbers" if features else f"a {kind}")
    message = getattr(features[name], kind)
    size = len(message.value)
    row = (spec.shape or ())[1:]
    known = math.prod(each or 1 for each in row)
    free = row.count(None)
    fits = size == known if not free else free == 1 and known and size and size % known == 0
    if not fits:
        raise InvalidInput(
            f"{where} has {size:,} values in {name[:100]!r}, and input {spec.name!r} takes "
            f"{shape_text(row)} of each"
        )
    shape = [size // known if each is None else each for each in row]
    if kind == "float_list":
        numbers = np.frombuffer(packed(message, VALUES), "<f4")
        return numbers.astype(spec.dtype, copy=False).reshape(shape)
    values = np.fromiter(message.value, np.int64, size)
    limits = np.iinfo(spec.dtype)
    if size and (values.min() < limits.min or values.max() > min(limits.max, 2**63 - 1)):
        raise InvalidInput(f"{where} has values in {name[:100]!r} that are no {spec.dtype.name}")
    return values.astype(spec.dtype).reshape(shape)
