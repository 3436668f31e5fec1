"""A PredictResponse, written as bytes: what is the same in each answer of a model, once."""

from functools import lru_cache
from typing import Any

import numpy as np
from tensorflow_serving.apis import predict_pb2

from serving.engine import Answer
from serving.protocols.tensorflow_serving_inference import DEFAULT_SIGNATURE, Array
from serving.protocols.tensorflow_serving_request import TENSOR_CONTENT
from serving.protocols.tensorflow_serving_status import Spec
from serving.protocols.tensorflow_serving_tensors import describe, encode
from serving.protocols.wire import field

MOST_HEADS = 256

Message = predict_pb2.PredictResponse
Entry = Message.OutputsEntry
CONTENT = TENSOR_CONTENT[-1]


def response(spec: Spec, answer: Answer) -> bytes:
    """Fields may come in any order, and each as if it were a message of its own."""
    return b"".join(
        [
            _head(spec, answer.version),
            *[
                field(Message.OUTPUTS_FIELD_NUMBER, _name(name) + _tensor(value))
                for name, value in answer.outputs.items()
            ],
        ]
    )


def fill_spec(message: Any, spec: Spec, version: int) -> None:
    message.name = spec.model
    message.signature_name = spec.signature or DEFAULT_SIGNATURE
    message.version.value = version


@lru_cache(MOST_HEADS)
def _head(spec: Spec, version: int) -> bytes:
    message = Message()
    fill_spec(message.model_spec, spec, version)
    written: bytes = message.SerializeToString()
    return written


@lru_cache(MOST_HEADS)
def _name(name: str) -> bytes:
    return field(Entry.KEY_FIELD_NUMBER, name.encode())


def _tensor(value: Array) -> bytes:
    if value.dtype.kind in "OS":
        entry = Entry()
        encode(value, entry.value)
        written: bytes = entry.SerializeToString()
        return written
    described = _described(value.dtype, value.shape)
    return field(Entry.VALUE_FIELD_NUMBER, described + field(CONTENT, value.tobytes()))


@lru_cache(MOST_HEADS)
def _described(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A TensorProto of no values."""
    tensor = Entry().value
    describe(dtype, shape, tensor)
    written: bytes = tensor.SerializeToString()
    return written
