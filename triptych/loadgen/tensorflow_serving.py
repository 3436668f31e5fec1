"""Tensors, or encoded inputs as strings, to PredictionService.Predict of TensorFlow Serving.

The messages are described here by their field numbers, as the generated modules import TensorFlow.
"""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from triptych.loadgen.examples import tensor
from triptych.loadgen.plan import CannotPlan, Plan, Wanted, groups

SERVICE = "/tensorflow.serving.PredictionService"
DT_STRING = 7
# DataType of TensorFlow -> NumPy's.
DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    10: "?",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
TENSOR_SIGNATURES = ("predict", "serving_default")  # the better first
STRING_SIGNATURES = ("classify", "serving_default")

# Message -> field -> number and type. A type's [] is "repeated", its {} a map from strings.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
    },
    "Dim": {"size": (1, "int64")},
    "TensorShape": {"dim": (2, "Dim[]"), "unknown_rank": (3, "bool")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShape"),
        "tensor_content": (4, "bytes"),
        "string_val": (8, "bytes[]"),
    },
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "Tensor{}")},
    "PredictResponse": {"outputs": (1, "Tensor{}"), "model_spec": (2, "ModelSpec")},
    "TensorInfo": {"dtype": (2, "int32"), "tensor_shape": (3, "TensorShape")},
    "SignatureDef": {"inputs": (1, "TensorInfo{}"), "outputs": (2, "TensorInfo{}")},
    "SignatureDefMap": {"signature_def": (1, "SignatureDef{}")},
    "Any": {"value": (2, "bytes")},
    "GetModelMetadataRequest": {"model_spec": (1, "ModelSpec"), "metadata_field": (2, "string[]")},
    "GetModelMetadataResponse": {"metadata": (2, "Any{}")},
}


async def plan(channel: grpc.aio.Channel, wanted: Wanted) -> Plan:
    """Raises: CannotPlan; AioRpcError where the server does not know the model or the protocol."""
    signatures = await _signatures(channel, wanted)
    if wanted.files:
        name = _choose(signatures, STRING_SIGNATURES, wanted, strings=True)
        (input_name,) = signatures[name].inputs
        bodies = tuple(
            _request(wanted, name, {input_name: _strings(group)})
            for group in groups(wanted.files, wanted.batch)
        )
        what = f"files or texts as strings to {name!r}"
    else:
        name = _choose(signatures, TENSOR_SIGNATURES, wanted, strings=False)
        tensors = {k: _tensor(k, info, wanted) for k, info in signatures[name].inputs.items()}
        bodies = (_request(wanted, name, tensors),)
        what = f"tensors to {name!r}"

    def problem(answer: bytes) -> str | None:
        try:
            outputs = _CLASSES["PredictResponse"].FromString(answer).outputs
        except DecodeError as error:
            return f"no PredictResponse: {error}"
        rows = [output.tensor_shape.dim[0].size for output in outputs.values()]
        if not rows:
            return "no outputs"
        wrong = wanted.batch > 1 and set(rows) != {wanted.batch}
        return f"{rows} rows for {wanted.batch} inputs" if wrong else None

    return Plan(f"{SERVICE}/Predict", bodies, wanted.batch, problem, what)


async def _signatures(channel: grpc.aio.Channel, wanted: Wanted) -> Mapping[str, Any]:
    method = channel.unary_unary(
        f"{SERVICE}/GetModelMetadata",
        response_deserializer=_CLASSES["GetModelMetadataResponse"].FromString,
    )
    request = _CLASSES["GetModelMetadataRequest"](
        model_spec=_model_spec(wanted), metadata_field=["signature_def"]
    )
    response = await method(request.SerializeToString(), timeout=wanted.timeout_seconds)
    packed = response.metadata["signature_def"].value
    return _CLASSES["SignatureDefMap"].FromString(packed).signature_def


def _choose(
    signatures: Mapping[str, Any], preferred: tuple[str, ...], wanted: Wanted, strings: bool
) -> str:
    """The signature with one input of strings, or with none of them."""

    def fits(name: str) -> bool:
        dtypes = [info.dtype for info in signatures[name].inputs.values()]
        return dtypes == [DT_STRING] if strings else bool(dtypes) and DT_STRING not in dtypes

    known = sorted(name for name in signatures if not name.startswith("__"))
    for name in [*(name for name in preferred if name in known), *known]:
        if fits(name):
            return name
    takes, instead = (
        ("takes strings", "leave --input and --text out")
        if strings
        else ("takes tensors", "give --input FILE or --text TEXT")
    )
    raise CannotPlan(f"no signature of {wanted.model!r} {takes} (it has {known}): {instead}")


def _tensor(name: str, info: Any, wanted: Wanted) -> Any:
    sizes = [dim.size for dim in info.tensor_shape.dim]
    if info.tensor_shape.unknown_rank or info.dtype not in DTYPES:
        raise CannotPlan(f"input {name!r} of {wanted.model!r} can't be made up: give --input FILE")
    shape = [wanted.any_size if size < 0 else size for size in sizes]
    if sizes and sizes[0] < 0:
        shape[0] = wanted.batch
    value = tensor(tuple(shape), np.dtype(DTYPES[info.dtype]))
    return _CLASSES["Tensor"](
        dtype=info.dtype, tensor_shape=_shape(value.shape), tensor_content=value.tobytes()
    )


def _strings(group: list[bytes | str]) -> Any:
    items = [item.encode() if isinstance(item, str) else item for item in group]
    return _CLASSES["Tensor"](dtype=DT_STRING, tensor_shape=_shape((len(items),)), string_val=items)


def _shape(sizes: tuple[int, ...]) -> Any:
    return _CLASSES["TensorShape"](dim=[_CLASSES["Dim"](size=size) for size in sizes])


def _model_spec(wanted: Wanted, signature: str = "") -> Any:
    spec = _CLASSES["ModelSpec"](name=wanted.model, signature_name=signature)
    if wanted.version is not None:
        spec.version.value = wanted.version
    return spec


def _request(wanted: Wanted, signature: str, tensors: Mapping[str, Any]) -> bytes:
    request = _CLASSES["PredictRequest"](model_spec=_model_spec(wanted, signature))
    for name, value in tensors.items():
        request.inputs[name].CopyFrom(value)
    return request.SerializeToString()


def _classes() -> dict[str, Any]:
    """In a pool of their own, where they meet no generated module that has the same names."""
    package = "triptych.loadgen"
    file = descriptor_pb2.FileDescriptorProto(
        name="loadgen.proto", package=package, syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            _add_field(message, f".{package}", field_name, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in MESSAGES
    }


def _add_field(
    message: descriptor_pb2.DescriptorProto, package: str, name: str, number: int, kind: str
) -> None:
    types = descriptor_pb2.FieldDescriptorProto
    added = message.field.add(name=name, number=number, label=types.LABEL_OPTIONAL)
    if kind.endswith("{}"):
        # As the compiler writes it: a repeated message of key and value, marked as a map's.
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        _add_field(nested, package, "key", 1, "string")
        _add_field(nested, package, "value", 2, kind.removesuffix("{}"))
        added.label, added.type = types.LABEL_REPEATED, types.TYPE_MESSAGE
        added.type_name = f"{package}.{message.name}.{entry}"
        return
    if kind.endswith("[]"):
        added.label = types.LABEL_REPEATED
    kind = kind.removesuffix("[]")
    if kind in MESSAGES:
        added.type, added.type_name = types.TYPE_MESSAGE, f"{package}.{kind}"
    else:
        added.type = getattr(types, f"TYPE_{kind.upper()}")


_CLASSES = _classes()
