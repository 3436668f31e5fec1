"""Reading Predict requests: one that has seen others reads as one that has seen none; and what is
written by hand is what TensorFlow reads."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from serving.account import Account
from serving.engine import Answer
from serving.protocols.tensorflow_serving_request import Reader
from serving.protocols.tensorflow_serving_response import response
from serving.protocols.tensorflow_serving_status import Refused, Spec
from serving.runtime.endpoint import Endpoint, TensorSpec

MOST_BYTES = 1000


def endpoint(*names):
    specs = {name: TensorSpec(name, np.dtype(np.float32), None) for name in names}
    return Endpoint("serving_default", specs, {}, batched=False)


ENDPOINTS = [endpoint("x"), endpoint("x", "y"), endpoint("z")]


def message(*wanted, model="m", version=None, **inputs):
    request = predict_pb2.PredictRequest(output_filter=wanted)
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


ARRAYS = st.sampled_from(
    [
        *[np.array(values, np.float32) for values in ([1, 2], [3, 4], [[5, 6]], 7, [1] * 300)],
        np.array([1, 2], np.int64),
        np.array([True, False]),
        np.array([b"a", b"bc"], object),
    ]
)


@st.composite
def messages(draw):
    names = draw(st.sampled_from([("x",), ("y",), ("x", "y"), ()]))
    wanted = draw(st.sampled_from([(), ("y",), ("y", "y")]))
    version = draw(st.sampled_from([None, 0, 3]))
    request = message(*wanted, version=version, **{name: draw(ARRAYS) for name in names})
    if draw(st.booleans()):
        request.ClearField("model_spec")
    if draw(st.booleans()) and names:
        request.inputs[names[0]].tensor_shape.dim.add().size = draw(st.sampled_from([1, 2, -1]))
    data = request.SerializeToString()
    if draw(st.booleans()):  # a name that comes twice, a field that no type has; cut off
        again = message(x=draw(ARRAYS)).SerializeToString()
        start = draw(st.sampled_from([b"", again, b"\xf8\x01\x05"]))
        data = start + data[: len(data) - draw(st.integers(0, 3))]
    return data


def outcome(reader, data, to):
    """All that a request says, or why it says nothing."""
    try:
        request = reader.read(data)
    except DecodeError:
        return "no message"
    try:
        spec = reader.spec(request)
        wanted = list(reader.wanted(request))
        inputs = reader.inputs(request, to)
    except Refused as error:
        return error.code, error.text
    return spec, wanted, dict(inputs), [value.dtype for value in inputs.values()]


@given(st.lists(messages(), min_size=2, max_size=8), st.sampled_from(ENDPOINTS))
def test_what_was_read_before_changes_nothing(them, to):
    reader = Reader(MOST_BYTES)
    for endpoint in (to, ENDPOINTS[0], to):
        for data in them:
            wanted = outcome(Reader(MOST_BYTES), data, endpoint)
            np.testing.assert_equal(outcome(reader, data, endpoint), wanted)


def test_a_kind_is_known_by_all_but_its_values():
    reader = Reader(MOST_BYTES)
    first, other = np.array([[1, 2]], np.float32), np.array([[3, 4]], np.float32)
    reader.inputs(reader.read(message(x=first).SerializeToString()), ENDPOINTS[0])
    request = reader.read(message(x=other).SerializeToString())
    assert request.said is not None
    np.testing.assert_array_equal(reader.inputs(request, ENDPOINTS[0])["x"], other)
    for changed in (
        message(x=first.T),
        message(x=first.astype(np.int32)),
        message(x=first, model="n"),
        message(x=first, version=1),
        message("y", x=first),
        message(y=first),
    ):
        assert reader.read(changed.SerializeToString()).said is None


@pytest.mark.parametrize(
    "value",
    [
        np.float32(1.5),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 3), np.int64),
        np.array([[True, False]]),
        np.array([[b"ship", b""]], object),
        np.arange(40, dtype=np.float16).reshape(40, 1),
    ],
    ids=lambda value: str(np.asarray(value).dtype),
)
def test_a_response_is_read_as_it_was_meant(value) -> None:
    value = np.asarray(value)
    answer = Answer("m", 2**40, "predict", {"x": value, "é" * 100: value}, Account())
    for _ in range(2):
        written = response(Spec("m", signature="predict"), answer)
        read = predict_pb2.PredictResponse.FromString(written)
        assert read.model_spec.name == "m"
        assert read.model_spec.version.value == 2**40
        assert read.model_spec.signature_name == "predict"
        assert read.outputs.keys() == answer.outputs.keys()
        for proto in read.outputs.values():
            np.testing.assert_array_equal(tf.make_ndarray(proto), value, strict=True)
