"""Tensors, or encoded inputs as BYTES, by the Open Inference Protocol: ModelInfer, or its stream.

Any server that speaks it: triptych, Triton, KServe, MLServer.
"""

import struct
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from triptych.loadgen.closed_loop import Sample
from triptych.loadgen.examples import tensor
from triptych.loadgen.plan import CannotPlan, Plan, Stream, Wanted, field, groups

SERVICE = "/inference.GRPCInferenceService"
RAW_INPUT = "inputs"  # of our artefacts' `classify` endpoint
DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


async def plan(channel: grpc.aio.Channel, wanted: Wanted) -> Plan:
    """Raises: CannotPlan; AioRpcError where the server does not know the model or the protocol."""
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    if wanted.files:
        bodies = tuple(_encoded(group, wanted) for group in groups(wanted.files, wanted.batch))
        what = f"files or texts as BYTES {RAW_INPUT!r}"
    else:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelMetadataRequest(name=wanted.model, version=_version(wanted))
        metadata = await stub.ModelMetadata(request, timeout=wanted.timeout_seconds)
        body, what = _tensors(metadata.inputs, wanted)
        bodies = (body,)

    def problem(answer: bytes) -> str | None:
        try:
            response = service_pb2.ModelInferResponse.FromString(answer)
        except DecodeError as error:
            return f"no ModelInferResponse: {error}"
        return _problem(response, wanted.batch)

    return Plan(
        path=f"{SERVICE}/ModelInfer",
        bodies=bodies,
        inputs=wanted.batch,
        problem=problem,
        what=what,
        stream=_stream(bodies, wanted.batch),
    )


def _version(wanted: Wanted) -> str:
    return "" if wanted.version is None else str(wanted.version)


def _encoded(group: list[bytes | str], wanted: Wanted) -> bytes:
    items = [item.encode() if isinstance(item, str) else item for item in group]
    raw = b"".join(struct.pack("<I", len(item)) + item for item in items)
    return _request([(RAW_INPUT, "BYTES", (len(items),), raw)], wanted)


def _tensors(inputs: Sequence[Any], wanted: Wanted) -> tuple[bytes, str]:
    tensors, said = [], []
    for given in inputs:
        if given.datatype not in DTYPES:
            raise CannotPlan(
                f"input {given.name!r} of {wanted.model!r} is {given.datatype}, which can't be made"
                " up: give --input FILE or --text TEXT"
            )
        sizes = [wanted.any_size if size < 0 else size for size in given.shape]
        if given.shape and given.shape[0] < 0:
            sizes[0] = wanted.batch
        elif wanted.batch != 1:
            raise CannotPlan(f"input {given.name!r} has no batch axis: leave --batch out")
        value = tensor(tuple(sizes), np.dtype(DTYPES[given.datatype]))
        tensors.append((given.name, given.datatype, value.shape, value.tobytes()))
        said.append(f"{given.datatype} {given.name} {'x'.join(map(str, value.shape))}")
    return _request(tensors, wanted), ", ".join(said)


def _request(tensors: list[tuple[str, str, tuple[int, ...], bytes]], wanted: Wanted) -> bytes:
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=wanted.model, model_version=_version(wanted))
    for name, datatype, shape, raw in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    return request.SerializeToString()


def _problem(response: Any, batch: int) -> str | None:
    if not response.outputs:
        return "no outputs"
    for output in response.outputs:
        if output.shape and batch > 1 and output.shape[0] != batch:
            return f"output {output.name!r} has {output.shape[0]} rows for {batch} inputs"
    return None


def _stream(bodies: tuple[bytes, ...], batch: int) -> Stream:
    from tritonclient.grpc import service_pb2

    parse = service_pb2.ModelStreamInferResponse.FromString

    def refusal(answer: bytes) -> tuple[str, str] | None:
        text = parse(answer).error_message
        return ("error on the stream", text) if text else None

    return Stream(
        path=f"{SERVICE}/ModelStreamInfer",
        bodies=bodies,
        head=lambda number: field(3, number.encode()),
        id_of=lambda answer: parse(answer).infer_response.id,
        refusal=refusal,
        sample=lambda answer: Sample(_problem(parse(answer).infer_response, batch)),
    )
