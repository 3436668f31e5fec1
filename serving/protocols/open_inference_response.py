"""A ModelInferResponse, written as bytes: what is the same in each answer of a model, once."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tritonclient.grpc import service_pb2

from serving.account import NAME
from serving.protocols.open_inference_call import Result
from serving.protocols.open_inference_tensors import datatype_of, raw
from serving.protocols.wire import field

MOST_HEADS = 256

Message = service_pb2.ModelInferResponse
STREAMED = service_pb2.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER
TEXT = service_pb2.InferParameter.STRING_PARAM_FIELD_NUMBER
KEY, VALUE = 1, 2  # of an entry of a map, by protobuf's encoding


def response(model: str, request_id: str, result: Result) -> bytes:
    """Fields may come in any order, and each as if it were a message of its own."""
    outputs = tuple([(name, value.dtype, value.shape) for name, value in result.outputs])
    told = field(VALUE, field(TEXT, result.account.text().encode()))
    return b"".join(
        [
            _head(model, result.version, outputs),
            field(Message.ID_FIELD_NUMBER, request_id.encode()) if request_id else b"",
            field(Message.PARAMETERS_FIELD_NUMBER, _ACCOUNT + told),
            *[
                field(Message.RAW_OUTPUT_CONTENTS_FIELD_NUMBER, raw(value))
                for _, value in result.outputs
            ],
        ]
    )


def streamed(written: bytes) -> bytes:
    """A ModelStreamInferResponse of `response`'s bytes."""
    return field(STREAMED, written)


_ACCOUNT = field(KEY, NAME.encode())


@lru_cache(MOST_HEADS)
def _head(model: str, version: int, outputs: Sequence[tuple[str, Any, tuple[int, ...]]]) -> bytes:
    message = Message(model_name=model, model_version=str(version))
    for name, dtype, shape in outputs:
        message.outputs.add(name=name, datatype=datatype_of(dtype), shape=shape)
    written: bytes = message.SerializeToString()
    return written
