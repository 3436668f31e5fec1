"""TensorProto <-> numpy, by the numbers of its fields. Nothing of TensorFlow is imported.

Whether a tensor fits an endpoint is `serving.runtime.endpoint`'s matter.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput
from serving.protocols.wire import packed, varint
from serving.runtime.endpoint import STRING, shape_text

Array = npt.NDArray[Any]

MAX_DIMENSIONS = 32
MAX_TAIL_BYTES = 2**20  # that a list of many values may leave to the repeating of its last one
POINTER_BYTES = 8  # of a string in an array

SLOW_VALUES = 50_000
VARINTS = None


class _Type(NamedTuple):
    """
    number: of the field that has the values, where tensor_content has not.
    packed: how protobuf writes that field; VARINTS, or an array's bytes.
    """

    name: str
    dtype: np.dtype[Any]
    field: str
    number: int
    packed: np.dtype[Any] | None


def _type(name: str, dtype: Any, field: str, number: int, packed: Any = VARINTS) -> _Type:
    as_packed = None if packed is VARINTS else np.dtype(packed)
    return _Type(name, np.dtype(dtype), field, number, as_packed)


# fmt: off
TYPES: dict[int, _Type] = {  # by DataType of TensorFlow's types.proto
    1:  _type("DT_FLOAT",      np.float32,         "float_val",    5,  "<f4"),
    2:  _type("DT_DOUBLE",     np.float64,         "double_val",   6,  "<f8"),
    3:  _type("DT_INT32",      np.int32,           "int_val",      7),
    4:  _type("DT_UINT8",      np.uint8,           "int_val",      7),
    5:  _type("DT_INT16",      np.int16,           "int_val",      7),
    6:  _type("DT_INT8",       np.int8,            "int_val",      7),
    7:  _type("DT_STRING",     STRING,             "string_val",   8),
    8:  _type("DT_COMPLEX64",  np.complex64,       "scomplex_val", 9,  "<f4"),
    9:  _type("DT_INT64",      np.int64,           "int64_val",    10),
    10: _type("DT_BOOL",       np.bool_,           "bool_val",     11, "u1"),
    14: _type("DT_BFLOAT16",   ml_dtypes.bfloat16, "half_val",     13),
    17: _type("DT_UINT16",     np.uint16,          "int_val",      7),
    18: _type("DT_COMPLEX128", np.complex128,      "dcomplex_val", 12, "<f8"),
    19: _type("DT_HALF",       np.float16,         "half_val",     13),
    22: _type("DT_UINT32",     np.uint32,          "uint32_val",   16),
    23: _type("DT_UINT64",     np.uint64,          "uint64_val",   17),
}
# fmt: on
NUMBERS = {known.dtype: number for number, known in TYPES.items()}
DT_INVALID = 0
BESIDE_VALUES = {"dtype", "tensor_shape", "version_number"}


def type_number(dtype: np.dtype[Any]) -> int:
    """TensorFlow's DataType; 0 for what no client can send."""
    return NUMBERS.get(dtype, DT_INVALID)


def type_name_of(dtype: np.dtype[Any]) -> str:
    number = type_number(dtype)
    return TYPES[number].name if number else dtype.name


def encode(value: Array, proto: Any) -> None:
    """Fills an empty TensorProto: numbers go into tensor_content, strings into string_val."""
    is_string = value.dtype.kind in "OS"  # TensorFlow gives the latter for a string alone
    describe(STRING if is_string else value.dtype, value.shape, proto)
    if is_string:
        proto.string_val.extend(value.ravel().tolist())
    else:
        proto.tensor_content = value.tobytes()


def describe(dtype: np.dtype[Any], shape: Sequence[int], proto: Any) -> None:
    """Fills an empty TensorProto but for its values."""
    proto.dtype = NUMBERS[dtype]
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add().size = size


class Described(NamedTuple):
    """A TensorProto but for its values."""

    known: _Type
    shape: tuple[int, ...]
    elements: int

    def array(self, content: bytes | memoryview) -> Array:
        """Of its tensor_content. Raises: InvalidInput."""
        known, shape, count = self
        if known.dtype == STRING:
            strings = np.empty(count, object)
            strings[:] = _strings(content, count)
            return strings.reshape(shape)
        if len(content) != count * known.dtype.itemsize:
            raise InvalidInput(
                f"its tensor_content has {len(content):,} bytes, and {known.name} "
                f"{shape_text(shape)} takes {count * known.dtype.itemsize:,}"
            )
        if known.dtype == np.bool_:
            bits: Array = np.frombuffer(content, np.uint8) != 0
            return bits.reshape(shape)
        return np.frombuffer(content, known.dtype).reshape(shape)


def described(proto: Any, most_bytes: int) -> Described:
    """Raises: InvalidInput if its type or shape are none, or too large."""
    known = TYPES.get(proto.dtype)
    if known is None:
        served = ", ".join(each.name for each in TYPES.values())
        raise InvalidInput(f"its dtype is number {proto.dtype}, and served are {served}")
    shape = _shape(proto.tensor_shape, known, most_bytes)
    return Described(known, shape, math.prod(shape))


def decode(proto: Any, most_bytes: int, content: memoryview | None = None) -> Array:
    """The array may be read-only, and a view of one value that stands for all.

    Nothing is allocated for what a shape merely claims, but MAX_TAIL_BYTES.

    Args:   most_bytes: that the tensor may have, be it sent or claimed.
            content: its tensor_content, where that was not parsed with the rest.
    Raises: InvalidInput if type, shape and values do not agree.
    """
    tensor = described(proto, most_bytes)
    given = content or proto.tensor_content
    if given:
        return tensor.array(given)
    known, shape, count = tensor
    values = _values(proto, known)
    if len(values) == count:
        return values.reshape(shape)
    if not len(values) or len(values) > count:
        raise InvalidInput(
            f"it has {len(values):,} values in {known.field}, and {known.name} "
            f"{shape_text(shape)} takes {count:,}"
        )
    return _repeat_last(values, known, shape, count)


def is_slow(proto: Any) -> bool:
    """Whether decoding takes milliseconds, and so belongs in a thread."""
    counted = (proto.int_val, proto.int64_val, proto.string_val, proto.half_val)
    return bool(sum(map(len, counted)) > SLOW_VALUES)


def _shape(proto: Any, known: _Type, most_bytes: int) -> tuple[int, ...]:
    if proto.unknown_rank:
        raise InvalidInput("its shape is unknown: set the sizes of tensor_shape")
    if len(proto.dim) > MAX_DIMENSIONS:
        raise InvalidInput(f"it has {len(proto.dim)} dimensions, and {MAX_DIMENSIONS} are allowed")
    shape = tuple([dim.size for dim in proto.dim])
    if shape and min(shape) < 0:
        raise InvalidInput(f"its shape is {shape_text(shape)}: no size may be negative")
    # A size of 0 does not excuse the others: no array could have them.
    if math.prod(size or 1 for size in shape) * _item_bytes(known) > most_bytes:
        raise InvalidInput(
            f"it is {known.name} {shape_text(shape)}, and a tensor has at most {most_bytes:,} "
            "bytes: send fewer examples at once, or raise TRIPTYCH_MAX_REQUEST_BYTES"
        )
    return shape


def _item_bytes(known: _Type) -> int:
    return POINTER_BYTES if known.dtype == STRING else known.dtype.itemsize


def _strings(content: bytes | memoryview, count: int) -> list[bytes]:
    """TensorFlow's own form: the lengths as varints, then all the bytes."""
    sizes, at = [], 0
    try:
        for _ in range(count):
            size, at = varint(content, at)
            sizes.append(size)
    except IndexError:
        raise InvalidInput(
            f"its tensor_content ends within the lengths of {count:,} strings"
        ) from None
    if at + sum(sizes) != len(content):
        raise InvalidInput(
            f"its tensor_content has {len(content) - at:,} bytes of strings, and their lengths "
            f"are {sum(sizes):,} in all"
        )
    strings = []
    for size in sizes:
        strings.append(bytes(content[at : at + size]))
        at += size
    return strings


def _values(proto: Any, known: _Type) -> Array:
    """[N], of the type's own field."""
    given = getattr(proto, known.field)
    for field, _ in proto.ListFields():
        if field.name not in BESIDE_VALUES and field.name != known.field:
            raise InvalidInput(
                f"it has {field.name}, and the values of {known.name} are in {known.field} or "
                "tensor_content"
            )
    if known.dtype == STRING:
        strings = np.empty(len(given), object)
        strings[:] = list(given)
        return strings
    if not len(given):
        return np.empty(0, known.dtype)
    if known.packed is None:
        return _narrow(given, known)
    # A hundred times faster than by Python's numbers: the field's bytes, as protobuf writes them.
    values: Array = np.frombuffer(packed(proto, known.number), known.packed)
    if known.dtype.kind != "c":
        return values.astype(known.dtype, copy=False)
    if len(values) % 2:
        raise InvalidInput(f"it has {len(values):,} values in {known.field}: an odd number")
    return values.view(known.dtype)


def _narrow(given: Sequence[int], known: _Type) -> Array:
    """Each within the range of its type, which may be narrower than that of the field."""
    bits = np.dtype(np.uint16) if known.field == "half_val" else known.dtype
    if bits.itemsize == 8:
        return np.fromiter(given, bits, len(given))
    values = np.fromiter(given, np.int64, len(given))
    limits = np.iinfo(bits)
    for value in (values.min(), values.max()):
        if not limits.min <= value <= limits.max:
            raise InvalidInput(
                f"it has {value} in {known.field}, and {known.name} is from {limits.min} to "
                f"{limits.max}"
            )
    return values.astype(bits).view(known.dtype)


def _repeat_last(values: Array, known: _Type, shape: tuple[int, ...], count: int) -> Array:
    """As TensorFlow, where a shorter list stands for one whose last value goes on."""
    if len(values) == 1:
        return np.broadcast_to(values.reshape((1,) * len(shape)), shape)
    missing = count - len(values)
    if missing * _item_bytes(known) > MAX_TAIL_BYTES:
        raise InvalidInput(
            f"it has {len(values):,} values in {known.field}, and {known.name} "
            f"{shape_text(shape)} takes {count:,}: the last is repeated for up to "
            f"{MAX_TAIL_BYTES:,} bytes, and a value alone for all"
        )
    return np.concatenate([values, np.repeat(values[-1:], missing)]).reshape(shape)
