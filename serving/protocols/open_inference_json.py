"""Tensors of the Open Inference Protocol in JSON <-> arrays. The binary ones are
`open_inference_tensors`'s.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput
from serving.protocols.open_inference_tensors import (
    DTYPES,
    INVALID,
    Data,
    datatype_of,
    integers,
    quoted,
)
from serving.runtime.endpoint import STRING

NOT_IN_JSON = ("FP16", "BF16", INVALID)  # the last: complex numbers, which have no datatype


def from_json(name: str, datatype: str, data: Any) -> Data:
    """The `data` of a JSON tensor: a list, flat or nested. Raises: InvalidInput."""
    if datatype in NOT_IN_JSON:
        raise InvalidInput(
            f"sending {datatype} data via JSON is not supported. Please use the binary data "
            f"format for input {quoted(name)}"
        )
    if datatype not in DTYPES or not isinstance(data, list):
        raise InvalidInput("Unable to parse 'data'")
    if datatype == "BYTES":
        return list(_utf8(name, _flat(name, data)))
    dtype = np.dtype(DTYPES[datatype])
    kinds = {"b": "b", "f": "iuf"}.get(dtype.kind, "iu")
    try:
        found = np.array(data)
    except (ValueError, OverflowError):  # its lists are of many lengths, say
        found = None
    if found is None or (found.size and found.dtype.kind not in kinds):
        raise InvalidInput(f"Unable to parse 'data' of input {quoted(name)} as {datatype}")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return found.astype(dtype).ravel()
    return integers(name, found, dtype).ravel()


def to_json(name: str, array: npt.NDArray[Any]) -> list[Any]:
    """A flat list. Raises: InvalidInput for what JSON cannot hold."""
    datatype = datatype_of(array.dtype)
    if datatype in NOT_IN_JSON:
        raise InvalidInput(
            f"sending {datatype} data via JSON is not supported. Please use the "
            f"binary data format for output {quoted(name)}"
        )
    if array.dtype == STRING:
        try:
            return [string.decode() for string in array.flat]
        except UnicodeDecodeError:
            raise InvalidInput(
                f"output {quoted(name)} is no UTF-8: ask for it as binary_data"
            ) from None
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [value if math.isfinite(value) else None for value in values]
    return values


def _flat(name: str, data: list[Any]) -> Iterable[Any]:
    stack = [iter(data)]
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter(value))
                break
            yield value
        else:
            stack.pop()


def _utf8(name: str, values: Iterable[Any]) -> Iterable[bytes]:
    for value in values:
        try:
            yield value.encode()
        except (AttributeError, UnicodeEncodeError):
            raise InvalidInput(
                f"Unable to parse JSON bytes array of input {quoted(name)}: send Unicode strings, "
                "and anything else as binary data"
            ) from None
