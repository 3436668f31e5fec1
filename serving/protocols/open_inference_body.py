"""Bodies of the Open Inference Protocol over HTTP: JSON, with the bytes of tensors behind it."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy.typing as npt
from fastapi import Request

from serving.errors import InvalidInput
from serving.protocols.open_inference_call import Wanted
from serving.protocols.open_inference_json import from_json, to_json
from serving.protocols.open_inference_tensors import Data, Given, datatype_of, quoted, raw

HEADER = "Inference-Header-Content-Length"  # the length of the JSON
MOST_JSON_VALUES = 4_000_000  # each becomes an object of up to 100 bytes


class Call(NamedTuple):
    """
    data:   of each input.
    binary: the outputs that are to come as bytes; None is all of them.
    """

    id: str
    parameters: dict[str, object]
    inputs: list[Given]
    data: list[Data]
    wanted: list[Wanted]
    binary: frozenset[str] | None


async def read_body(request: Request) -> dict[str, Any]:
    """A small JSON object, or none. Raises: InvalidInput."""
    body = await request.body()
    return _load(body) if body.strip() else {}


def parse(body: bytes, header: str | None, encoding: str, model: str) -> Call:
    """Raises: InvalidInput, in Triton's words."""
    if encoding not in ("", "identity"):
        raise InvalidInput(
            f"Unsupported compression type {encoding[:100]!r}: send the body as it is"
        )
    length = _json_length(header, len(body))
    request = _load(body[:length])
    binary = memoryview(body)[length:]
    inputs, data = [], []
    for tensor in _list(request, "inputs"):
        given, values, binary = _input(tensor, binary, model, has_header=header is not None)
        inputs.append(given)
        data.append(values)
    if binary:
        raise InvalidInput(f"unexpected additional input data for model '{model}'")
    parameters = _object(request, "parameters")
    all_binary = parameters.pop("binary_data_output", False)
    if not isinstance(all_binary, bool):
        raise InvalidInput("Unable to parse 'binary_data_output'")
    wanted, names = [], set()
    for output in _list(request, "outputs") if "outputs" in request else []:
        found, is_binary = _output(output, default=all_binary)
        wanted.append(found)
        if is_binary:
            names.add(found.name)
    return Call(
        _text(request, "id") if "id" in request else "",
        parameters,
        inputs,
        data,
        wanted,
        None if all_binary and not wanted else frozenset(names),
    )


def render(
    told: dict[str, Any], outputs: Sequence[tuple[str, npt.NDArray[Any]]], call: Call
) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON; None if it is nothing else.

    Raises: InvalidInput for an output that JSON cannot hold.
    """
    tensors, parts = [], []
    for name, value in outputs:
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(value.dtype),
            "shape": list(value.shape),
        }
        if call.binary is None or name in call.binary:
            parts.append(raw(value))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = to_json(name, value)
        tensors.append(tensor)
    head = json.dumps({**told, "outputs": tensors}, separators=(",", ":")).encode()
    return b"".join([head, *parts]), len(head) if parts else None


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) < 20):
        raise InvalidInput(f"Unable to parse {HEADER}, got: {header[:100]}")
    length = int(header)
    if length > size:
        raise InvalidInput(
            f"inference header size should be in range (0, {size}), got: {header[:100]}"
        )
    return length


def _load(text: bytes) -> dict[str, Any]:
    if text.count(b",") > MOST_JSON_VALUES:
        raise InvalidInput(
            f"the JSON has more than {MOST_JSON_VALUES:,} values: send tensors as binary data "
            f"({HEADER}), which is faster too"
        )
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise InvalidInput(f"failed to parse the request JSON buffer: {reason[:200]}") from None
    if not isinstance(found, dict):
        raise InvalidInput("failed to parse the request JSON buffer: it is no object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _input(
    tensor: Any, binary: memoryview, model: str, *, has_header: bool
) -> tuple[Given, Data, memoryview]:
    """The input, its data, and the bytes that are left for the next."""
    name = _text(tensor, "name")
    datatype = _text(tensor, "datatype")
    shape = _list(tensor, "shape")
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int):
            raise InvalidInput("Unable to parse 'shape'")
    parameters = _object(tensor, "parameters")
    ways = {
        "data": "data" in tensor,
        "binary_data_size": "binary_data_size" in parameters,
        "shared_memory_region": "shared_memory_region" in parameters,
    }
    if sum(ways.values()) != 1:
        found = " ".join(f"'{way}'" for way, used in ways.items() if used)
        raise InvalidInput(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in "
            "'parameters', 'shared_memory_region' in 'parameters'. But "
            + (f"set {found}" if found else "no field is set")
        )
    if ways["shared_memory_region"]:
        raise InvalidInput(
            f"Unable to find shared memory region of input {quoted(name)}: send its bytes"
        )
    given = Given(name, datatype, shape)
    if ways["data"]:
        return given, from_json(name, datatype, tensor["data"]), binary
    size = parameters["binary_data_size"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidInput("Unable to parse 'binary_data_size'")
    if not has_header and size:
        raise InvalidInput(
            f"must specify valid '{HEADER}' in request header and 'binary_data_size' when passing "
            "inputs in binary data format"
        )
    if size > len(binary):
        raise InvalidInput(
            f"unexpected size for input {quoted(name)}, expecting {size - len(binary)} additional "
            f"bytes for model '{model}'"
        )
    return given, binary[:size], binary[size:]


def _output(output: Any, *, default: bool) -> tuple[Wanted, bool]:
    """What is wanted, and whether as bytes."""
    name = _text(output, "name")
    parameters = _object(output, "parameters")
    if "shared_memory_region" in parameters:
        raise InvalidInput(
            f"Unable to find shared memory region of output {quoted(name)}: leave it out"
        )
    binary = parameters.get("binary_data", default)
    if not isinstance(binary, bool):
        raise InvalidInput("Unable to parse 'binary_data'")
    classes = parameters.get("classification", 0)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 0:
        raise InvalidInput("Unable to set 'classification'")
    return Wanted(name, classes), binary


def _text(found: Any, key: str) -> str:
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, str):
        raise InvalidInput(f"Unable to parse '{key}'")
    return value


def _list(found: Any, key: str) -> list[Any]:
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, list):
        raise InvalidInput(f"Unable to parse '{key}'")
    return value


def _object(found: Any, key: str) -> dict[str, Any]:
    value = found.get(key, {}) if isinstance(found, dict) else None
    if not isinstance(value, dict):
        raise InvalidInput(f"Unable to parse '{key}'")
    return value
