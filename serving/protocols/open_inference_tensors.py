"""Tensors of the Open Inference Protocol <-> arrays, checked against what an endpoint takes.

Raw bytes are viewed, not copied; nothing is allocated for what a client merely claims. The texts
are Triton's own, where it has one. Which endpoint is asked is `open_inference_call`'s matter.
"""

import math
import struct
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput
from serving.runtime.endpoint import STRING, Endpoint, TensorSpec

Data = bytes | memoryview | npt.NDArray[Any] | list[bytes]  # the arrays flat

# The names of the protocol -> of NumPy; BF16 is known by name only, as it is another package's.
DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BF16": "bfloat16",
    "BYTES": "object",
}
DATATYPES = {name: datatype for datatype, name in DTYPES.items()}
# Datatype -> its field of InferTensorContents. FP16 and BF16 come raw only.
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
TYPE_OF_CONTENTS = {
    "int_contents": "INT32",
    "uint_contents": "UINT32",
} | {
    field: datatype
    for datatype, field in CONTENTS.items()
    if field not in ("int_contents", "uint_contents")
}
PACKED = {"BOOL", "FP32", "FP64"}  # whose encoding in a message is that of the array
INVALID = "<invalid>"  # the name of a datatype that there is not

MAX_INT64 = 2**63 - 1
MAX_RANK = 64  # of NumPy
MAX_SHOWN_SIZES = 16  # of a shape that a message repeats
MAX_SHOWN_CHARACTERS = 100  # of a name that a message repeats
LENGTH = struct.Struct("<I")
FEW_VALUES = 2**14  # of which one byte each is copied sooner than all are computed with
BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to "
    "be prepended to each input shape. If you want to specify the full shape including the "
    "batch dim in your input dims config, try setting max_batch_size to zero. See the model "
    "configuration docs for more info on max_batch_size."
)


class Given(NamedTuple):
    """An input of a request, as it is described there."""

    name: str
    datatype: str
    shape: Sequence[int]


class Place(NamedTuple):
    """An input that an endpoint takes, whatever its values are."""

    given: Given
    dtype: np.dtype[Any]
    elements: int
    model: str
    refuse_nan: bool

    def read(self, data: Data) -> npt.NDArray[Any]:
        """Raises: InvalidInput, in Triton's words."""
        if self.dtype == STRING:
            return self._strings(data)
        values = self._values(data)
        if self.refuse_nan and self.dtype.kind == "f" and _has_nan(values):
            raise InvalidInput(
                f"input {quoted(self.given.name)} for model '{self.model}' has values that are no "
                "number (NaN)"
            )
        return values.reshape(self.given.shape)

    def _values(self, data: Data) -> npt.NDArray[Any]:
        dtype = self.dtype
        size = data.nbytes if isinstance(data, np.ndarray | memoryview) else len(data)
        if size != self.elements * dtype.itemsize:
            raise InvalidInput(
                f"input byte size mismatch for input {quoted(self.given.name)} for model "
                f"'{self.model}'. Expected {self.elements * dtype.itemsize}, got {size}"
            )
        if not isinstance(data, bytes | memoryview):
            return np.asarray(data, dtype)
        if dtype.kind == "b":  # a byte that is neither 0 nor 1 is no value that NumPy knows
            given_bools: npt.NDArray[Any] = np.frombuffer(data, np.uint8) != 0
            return given_bools
        return np.frombuffer(data, dtype)

    def _strings(self, data: Data) -> npt.NDArray[Any]:
        name, count, model = quoted(self.given.name), self.elements, self.model
        strings = data if isinstance(data, list) else _strings(name, data, count, model)
        if len(strings) != count:
            raise InvalidInput(
                f"expected {count} string elements for inference input {name} for model "
                f"'{model}', got {len(strings)}"
            )
        array = np.empty(count, STRING)
        array[:] = strings
        return array.reshape(self.given.shape)


@cache  # as NumPy builds a name anew each time
def datatype_of(dtype: np.dtype[Any]) -> str:
    return DATATYPES.get(dtype.name, INVALID)


def shape_of(spec: TensorSpec) -> list[int]:
    """-1 is any size. Of an unknown rank nothing can be said, so it is [-1]."""
    if spec.shape is None:
        return [-1]
    return [-1 if size is None else size for size in spec.shape]


def typed(name: str, datatype: str, contents: Any, model: str) -> Data:
    """The values of an InferTensorContents. Raises: InvalidInput if they are of another type."""
    field = CONTENTS.get(datatype)
    for found, _ in contents.ListFields():
        if found.name != field:
            raise InvalidInput(
                f"unexpected explicit tensor data for input tensor {quoted(name)} for model "
                f"'{model}' of type '{TYPE_OF_CONTENTS[found.name]}', expected datatype "
                f"'{datatype if datatype in DTYPES else INVALID}'"
            )
    if field is None:
        return b""
    values = getattr(contents, field)
    if datatype == "BYTES":
        return list(values)
    dtype = np.dtype(DTYPES[datatype])
    if datatype in PACKED and values:
        contents.DiscardUnknownFields()
        # A tag of one byte, a length, and then just what the array has: 100 times as fast as
        # an object for each value.
        array = np.frombuffer(contents.SerializeToString(), np.uint8)
        return array[-len(values) * dtype.itemsize :].view(dtype)
    return integers(name, np.fromiter(values, np.int64 if dtype.kind == "i" else np.uint64), dtype)


def integers(name: str, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Raises: InvalidInput if a value is out of the range of `dtype`."""
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise InvalidInput(
                f"input {quoted(name)} has a value that is no {datatype_of(dtype)}: those are "
                f"from {limits.min} to {limits.max}"
            )
    return values.astype(dtype)


def places(
    endpoint: Endpoint,
    inputs: Sequence[Given],
    *,
    model: str,
    max_rows: int,
    refuse_nan: bool,
) -> list[Place]:
    """
    Args:   inputs: their names are the endpoint's.
            max_rows: of a batch.
            refuse_nan: where nothing could be computed of them.
    Raises: InvalidInput, in Triton's words.
    """
    if endpoint.batched:
        _check_batch(inputs, model, max_rows)
    found = []
    for given in inputs:
        spec = endpoint.inputs[given.name]
        _check_type(spec, given, model)
        _check_shape(spec, given, model, endpoint.batched)
        found.append(Place(given, spec.dtype, _count(given, model), model, refuse_nan))
    return found


def _check_batch(inputs: Sequence[Given], model: str, max_rows: int) -> None:
    rows = None
    for given in inputs:
        if not given.shape:
            raise InvalidInput(
                f"input {quoted(given.name)} has no shape but model requires batch dimension for "
                f"'{model}'"
            )
        if rows is not None and given.shape[0] != rows:
            raise InvalidInput(
                f"input {quoted(given.name)} batch size does not match other inputs for '{model}'"
            )
        rows = given.shape[0]
    if rows is not None and rows > max_rows:
        raise InvalidInput(
            f"inference request batch-size must be <= {max_rows} for '{model}': send several "
            "requests, or raise TRIPTYCH_MAX_INPUTS_PER_REQUEST"
        )


def _check_type(spec: TensorSpec, given: Given, model: str) -> None:
    expected = datatype_of(spec.dtype)
    if given.datatype != expected:
        found = given.datatype if given.datatype in DTYPES else INVALID
        raise InvalidInput(
            f"inference input {quoted(given.name)} data-type is '{found}', but model '{model}' "
            f"expects '{expected}'"
        )


def _has_nan(values: npt.NDArray[Any]) -> bool:
    """NumPy lets go of the interpreter's lock to compute, and getting it back from threads that
    wait for it takes ten times as long as to look at a small tensor. That is done without: no
    number of 4 or 8 bytes is NaN whose highest byte is another than these two.
    """
    size = values.itemsize
    if size in (4, 8) and len(values) <= FEW_VALUES:
        highest = values.view(np.uint8)[size - 1 :: size].tobytes()
        if b"\x7f" not in highest and b"\xff" not in highest:
            return False
    return bool(np.isnan(np.minimum.reduce(values)))


def _strings(name: str, given: Data, count: int, model: str) -> list[bytes]:
    """Each comes as four bytes of length, and itself."""
    data = memoryview(given)  # type: ignore[arg-type]
    strings: list[bytes] = []
    place, end = 0, len(data)
    while place < end:
        if end - place < LENGTH.size:
            raise InvalidInput(
                f"incomplete string length indicator for inference input {name} for "
                f"model '{model}', expecting {LENGTH.size} bytes but only {end - place} bytes "
                "available. Please make sure the string length indicator is in one buffer."
            )
        if len(strings) == count:
            raise InvalidInput(
                f"unexpected number of string elements {count + 1} for inference input "
                f"{name} for model '{model}', expecting {count}"
            )
        (length,) = LENGTH.unpack_from(data, place)
        place += LENGTH.size
        if length > end - place:
            raise InvalidInput(
                f"incomplete string data for inference input {name} for model "
                f"'{model}', expecting string of length {length} but only {end - place} bytes "
                "available"
            )
        strings.append(bytes(data[place : place + length]))
        place += length
    return strings


def _check_shape(spec: TensorSpec, given: Given, model: str, batched: bool) -> None:
    """But for the size of the batch, which only `_count` looks at."""
    first = 1 if batched else 0
    sizes = given.shape
    if spec.shape is None:
        fits = len(sizes) <= MAX_RANK
    else:
        fits = len(sizes) == len(spec.shape)
        for wanted, size in zip(spec.shape[first:], sizes[first:], strict=False):
            if not fits:
                break
            if size == -1:
                raise InvalidInput(
                    f"All input dimensions should be specified for input {quoted(given.name)} for "
                    f"model '{model}', got {_shape_text(sizes)}"
                )
            fits = wanted is None or wanted == size
    if not fits:
        raise InvalidInput(
            f"unexpected shape for input {quoted(given.name)} for model '{model}'. Expected "
            f"{_shape_text(shape_of(spec))}, got {_shape_text(sizes)}. "
            f"{BATCH_NOTE if batched else ''}".rstrip()
        )


def _count(given: Given, model: str) -> int:
    sizes = given.shape
    if sizes and min(sizes) < 0:
        raise InvalidInput(
            f"tensor {quoted(given.name)} contains an invalid dimension in shape "
            f"{_shape_text(sizes)}"
        )
    count = math.prod(sizes)
    if not count:
        raise InvalidInput(
            f"input {quoted(given.name)} for model '{model}' is empty, as its shape is "
            f"{_shape_text(sizes)}: send at least one element"
        )
    if count > MAX_INT64 // 8:  # so that its bytes can be counted too
        raise InvalidInput(
            f"element count for tensor {quoted(given.name)} exceeds maximum size of {MAX_INT64}"
        )
    return count


def raw(array: npt.NDArray[Any]) -> bytes:
    """As raw_output_contents has it."""
    if array.dtype != STRING:
        return array.tobytes()
    if array.ndim > 1 and array.strides[0] == 0:  # labels, the same in every row
        return raw(array[0]) * len(array)
    parts: list[bytes] = []
    for string in array.flat:
        parts += (LENGTH.pack(len(string)), string)
    return b"".join(parts)


def missing(model: str, wanted: Mapping[str, Any], found: Collection[str]) -> InvalidInput:
    """For a request with another number of inputs than the endpoint has."""
    lacking = [name for name in wanted if name not in found]
    return InvalidInput(
        f"expected {len(wanted)} inputs but got {len(found)} inputs for model '{model}'. Got "
        f"input(s) {_names(found)}, but missing required input(s) {_names(lacking)}. Please "
        "provide all required input(s)."
    )


def unexpected(model: str, kind: str, name: str, known: Collection[str]) -> InvalidInput:
    """Args: kind: "input" or "output"."""
    return InvalidInput(
        f"unexpected inference {kind} {quoted(name)} for model '{model}'. It has {_names(known)}"
    )


def _names(names: Collection[str]) -> str:
    shown = [quoted(name) for name in list(names)[:MAX_SHOWN_SIZES]]
    return f"[{','.join(shown)}{',...' if len(names) > MAX_SHOWN_SIZES else ''}]"


def quoted(name: str) -> str:
    return f"'{name[:MAX_SHOWN_CHARACTERS]}'"


def _shape_text(sizes: Sequence[int]) -> str:
    more = ",..." if len(sizes) > MAX_SHOWN_SIZES else ""
    return f"[{','.join(map(str, sizes[:MAX_SHOWN_SIZES]))}{more}]"
