"""TensorFlow Serving's JSON <-> arrays. What a call means is `tensorflow_serving_inference`'s
matter, and the JSON of examples `tensorflow_serving_json_examples`'.
"""

import base64
import binascii
import json
import reprlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.protocols.tensorflow_serving_inference import Classes
from serving.protocols.tensorflow_serving_status import Code, Refused, invalid
from serving.protocols.tensorflow_serving_tensors import type_name_of
from serving.runtime.endpoint import STRING, Endpoint, TensorSpec, type_name

Array = npt.NDArray[Any]

MOST_BRACKETS = 4_000_000  # each may become an object of some 80 bytes
MOST_COMMAS = 16_000_000
MOST_LEVELS = 32
SIGNATURE, INSTANCES, INPUTS = "signature_name", "instances", "inputs"
BYTES_SUFFIX = "_bytes"  # of outputs whose strings are no text
NUMBERS = {int, float}

JSON_TYPES = {
    dict: "Object",
    list: "Array",
    str: "String",
    bool: "Bool",
    int: "Number",
    float: "Number",
    type(None): "Null",
}


def parse(body: bytes) -> dict[str, Any]:
    """An object with a signature's name that is text, if it has one."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    brackets, commas = body.count(b"[") + body.count(b"{"), body.count(b",")
    if brackets > MOST_BRACKETS or commas > MOST_COMMAS:
        raise invalid(
            f"JSON Parse error: {brackets:,} brackets and {commas:,} commas, and "
            f"{MOST_BRACKETS:,} and {MOST_COMMAS:,} are allowed; send fewer instances, or by gRPC"
        )
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    if not isinstance(document.get(SIGNATURE, ""), str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    return document


def predict_inputs(
    document: Mapping[str, Any], endpoint: Endpoint
) -> tuple[dict[str, Array], bool]:
    """Returns: the inputs, and whether they came by rows, so that outputs go so too."""
    if INSTANCES in document and INPUTS in document:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of "
            f"'{INPUTS}' or '{INSTANCES}' keys to exist "
        )
    if INSTANCES in document:
        return _from_instances(document[INSTANCES], endpoint), True
    if INPUTS in document:
        return _from_columns(document[INPUTS], endpoint), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_instances(instances: Any, endpoint: Endpoint) -> dict[str, Array]:
    if not isinstance(instances, list):
        raise invalid(f"JSON Value: {shown(instances)} Expecting '{INSTANCES}' to be an list/array")
    if not instances:
        raise invalid(f"JSON Value: [] No values in '{INSTANCES}' array")
    if not _is_object(instances[0]):
        if len(endpoint.inputs) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input "
                "tensors required as per tensorinfo_map"
            )
        for i, one in enumerate(instances):
            if _is_object(one):
                raise invalid(f"Expecting value/list but got object at item {i} of input list")
        ((name, spec),) = endpoint.inputs.items()
        return {name: _stack(instances, spec)}
    for i, one in enumerate(instances):
        if not _is_object(one):
            raise invalid(f"Expecting object but got list at item {i} of input list")
        for name in one:
            if name not in endpoint.inputs:
                raise invalid(
                    f"Failed to process element: {i} key: {name} of 'instances' list. Error: "
                    f"INVALID_ARGUMENT: JSON object: does not have named input: {name}"
                )
        if one.keys() != endpoint.inputs.keys():
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: {shown(one)} "
                f"keys must be equal to: {','.join(sorted(endpoint.inputs))}"
            )
    return {
        name: _stack([one[name] for one in instances], spec, f" key: {name}")
        for name, spec in endpoint.inputs.items()
    }


def _stack(instances: Sequence[Any], spec: TensorSpec, key: str = "") -> Array:
    """[N, ...]"""
    flats, first = [], None
    for i, one in enumerate(instances):
        try:
            flat, shape = _dense(one)
            if first is None:
                first = shape
            _require_same(first, shape)
            _require_types(flat, spec)
        except Refused as error:
            raise Refused(
                error.code,
                f"Failed to process element: {i}{key} of 'instances' list. Error: "
                f"{error.code.name}: {error.text}",
            ) from None
        flats.append(flat)
    values = _array(list(chain.from_iterable(flats)), spec)
    return values.reshape(len(instances), *(first or ()))


def _from_columns(inputs: Any, endpoint: Endpoint) -> dict[str, Array]:
    columns = inputs
    if not _is_object(inputs):
        if len(endpoint.inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        columns = dict.fromkeys(endpoint.inputs, inputs)
    tensors = {}
    for name, spec in endpoint.inputs.items():
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        flat, shape = _dense(columns[name])
        _require_types(flat, spec)
        tensors[name] = _array(flat, spec).reshape(shape)
    for name in columns.keys() - endpoint.inputs.keys():
        raise invalid(f"JSON object: does not have named input: {name}")
    return tensors


def _dense(value: Any) -> tuple[list[Any], tuple[int, ...]]:
    """What is in lists of lists, and their sizes: the same on each level."""
    level, shape = [value], list[int]()
    while level and type(level[0]) is list:
        if len(shape) == MOST_LEVELS:
            raise invalid(f"the lists are nested deeper than {MOST_LEVELS} levels")
        expected = len(level[0])
        for each in level:
            if type(each) is not list:
                raise invalid(
                    f"JSON Value: {shown(each)} found at incorrect level: {len(shape) + 1} in "
                    f"the JSON DOM. Expected at level: {len(shape) + 2}"
                )
            if len(each) != expected:
                raise invalid(
                    f"Encountered list at unexpected size: {len(each)} at level: {len(shape)} "
                    f"expected size: {expected}"
                )
        shape.append(expected)
        level = list(chain.from_iterable(level))
    if any(type(each) is list for each in level):
        raise invalid(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return level, tuple(shape)


def _require_same(first: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if shape == first:
        return
    wanted, got = int(np.prod(first)), int(np.prod(shape))
    if wanted != got:
        raise invalid(f"Expecting tensor size: {wanted} but got: {got}")
    texts = ["[" + ",".join(map(str, each)) + "]" for each in (first, shape)]
    raise invalid(f"Expecting shape {texts[0]} but got: {texts[1]}")


def _require_types(flat: Sequence[Any], spec: TensorSpec) -> None:
    kind = spec.dtype.kind
    if spec.dtype == STRING:
        allowed: set[type] = {str, dict}
    elif kind == "b":
        allowed = {bool}
    elif kind in "iu":
        allowed = {int}
    elif kind == "c":
        raise Refused(Code.UNIMPLEMENTED, f"Conversion of JSON Value to type: {spec.dtype.name}")
    else:
        allowed = NUMBERS
    if set(map(type, flat)) <= allowed:
        return
    wrong = next(each for each in flat if type(each) not in allowed)
    raise invalid(
        f"JSON Value: {shown(wrong)} Type: {JSON_TYPES[type(wrong)]} is not of expected type: "
        f"{type_name(spec.dtype)}"
    )


def _array(flat: list[Any], spec: TensorSpec) -> Array:
    """[N]"""
    if spec.dtype == STRING:
        strings = np.empty(len(flat), object)
        strings[:] = [bytes_of(each) for each in flat]
        return strings
    try:
        with np.errstate(over="ignore"):  # to infinity, as in the reference
            if spec.dtype.kind in "biu":
                return np.array(flat, spec.dtype)
            return np.array(flat, np.float64).astype(spec.dtype)
    except OverflowError:
        raise invalid(f"a JSON Value is out of the range of {type_name(spec.dtype)}") from None


def bytes_of(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise invalid(
                f'JSON Value: {shown(value)} is no Unicode: send bytes as {{"b64": ...}}'
            ) from None
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    encoded = value["b64"].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def predictions(outputs: Mapping[str, Array], by_rows: bool) -> dict[str, Any]:
    if not by_rows:
        columns = {name: _values(name, value) for name, value in outputs.items()}
        return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
    size = None
    for name, value in outputs.items():
        if not value.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size is not None and len(value) != size:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(value)} expecting: {size}"
            )
        size = len(value)
    columns = {name: _values(name, value) for name, value in outputs.items()}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def results_of_classes(classes: Classes) -> dict[str, Any]:
    given = classes.labels if classes.labels is not None else classes.scores
    shape = given.shape if given is not None else (0, 0)
    labels = _values(
        "classes", np.full(shape, b"", object) if classes.labels is None else classes.labels
    )
    scores = _values(
        "scores", np.zeros(shape, np.float32) if classes.scores is None else classes.scores
    )
    pairs = zip(labels, scores, strict=True)
    return {"results": [list(zip(row, of_row, strict=True)) for row, of_row in pairs]}


def results_of_values(values: Array) -> dict[str, Any]:
    return {"results": _values("outputs", values)}


def _values(name: str, value: Array) -> Any:
    if value.dtype == STRING or value.dtype.kind == "S":
        as_bytes = name.endswith(BYTES_SUFFIX)
        texts = np.empty(value.size, object)
        texts[:] = [_text(each, as_bytes) for each in value.ravel().tolist()]
        return texts.reshape(value.shape).tolist()
    if value.dtype.kind == "c":
        raise invalid(
            f"Failed to write JSON value for tensor type: {type_name_of(value.dtype)}; call gRPC"
        )
    if value.dtype.kind not in "biu" and value.dtype != np.float64:
        # Through text: 0.2 shall not become 0.20000000298023224.
        value = value.astype(np.float32).astype("U").astype(np.float64)
    return value.tolist()


def _text(value: bytes, as_bytes: bool) -> Any:
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass  # JSON has no other way to say it
    return {"b64": base64.b64encode(value).decode()}


class _Shown(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80


def shown(value: Any) -> str:
    """Not the whole of it, which may be large."""
    return _Shown().repr(value)[:256]
