"""Fields that are left where they came: whatever protobuf writes, and whatever it does not."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2
from tritonclient.grpc import service_pb2

from serving.protocols.open_inference_request import Reader
from serving.protocols.tensorflow_serving_request import TENSOR_CONTENT
from serving.protocols.tensorflow_serving_request import Reader as PredictReader
from serving.protocols.tensorflow_serving_tensors import decode
from serving.protocols.wire import LARGE_BYTES, lift

RAW = (7,)
CONTENTS = st.lists(st.binary(max_size=300), max_size=4)


def infer_request(contents, name="m"):
    request = service_pb2.ModelInferRequest(model_name=name, id="7", raw_input_contents=contents)
    for number in range(len(contents)):
        request.inputs.add(name=f"x{number}", datatype="FP32", shape=[1, 2**40 * number])
    request.parameters["priority"].int64_param = -1
    return request


@given(CONTENTS, st.text(max_size=200))
def test_what_is_lifted_and_what_is_left_are_the_message(contents, name):
    request = infer_request(contents, name)
    rest, lifted = lift(request.SerializeToString(), RAW)
    assert [bytes(one) for one in lifted] == contents
    left = service_pb2.ModelInferRequest.FromString(rest)
    assert not left.raw_input_contents
    left.raw_input_contents.extend(contents)
    assert left == request


@given(st.dictionaries(st.text(max_size=20), st.binary(min_size=1, max_size=300), max_size=3))
def test_a_field_far_down_is_lifted_with_all_lengths_on_the_way_mended(contents):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m" * 200
    for name, content in contents.items():
        request.inputs[name].dtype = 1
        request.inputs[name].tensor_shape.dim.add().size = len(content)
        request.inputs[name].tensor_content = content
    rest, lifted = lift(request.SerializeToString(), TENSOR_CONTENT)
    assert sorted(map(bytes, lifted)) == sorted(contents.values())
    left = predict_pb2.PredictRequest.FromString(rest)
    assert left.inputs.keys() == contents.keys()
    for name, content in contents.items():
        assert not left.inputs[name].tensor_content
        left.inputs[name].tensor_content = content
    assert left == request


def parsed(data):
    try:
        return service_pb2.ModelInferRequest.FromString(data)
    except DecodeError:
        return None


def parsed_apart(data):
    rest, lifted = lift(data, RAW)
    request = parsed(rest)
    if request is not None:
        request.raw_input_contents.extend(map(bytes, lifted))
    return request


@given(st.binary(max_size=60))
def test_the_parser_has_the_last_word_on_what_is_a_message(data):
    assert parsed_apart(data) == parsed(data)


def test_a_message_that_is_cut_off_anywhere_is_read_as_the_parser_reads_it():
    data = infer_request([b"abc" * 100, b"", b"d"]).SerializeToString()
    for at in range(len(data)):
        assert parsed_apart(data[:at]) == parsed(data[:at])


@pytest.mark.parametrize("size", [LARGE_BYTES // 2, LARGE_BYTES, 3 * LARGE_BYTES])
def test_small_and_large_requests_read_alike(size):
    content = bytes(range(256)) * (size // 256)
    request = infer_request([content, b"", content[:5]])
    read = Reader().read(request.SerializeToString())
    assert [bytes(one) for one in read.contents] == [content, b"", content[:5]]
    assert read.ByteSize() == len(request.SerializeToString())
    assert read.model == "m"
    predict = predict_pb2.PredictRequest()
    predict.inputs["x"].tensor_content = content
    read = PredictReader(10**9).read(predict.SerializeToString())
    assert bytes(read.content or read.message.inputs["x"].tensor_content) == content


def test_numbers_are_read_beside_fields_that_no_type_has():
    """A group, which proto3 has no more, is kept by the parser and unknown to `lift`."""
    known = predict_pb2.PredictRequest().inputs["x"]
    known.dtype = 1
    known.tensor_shape.dim.add().size = 2
    known.float_val.extend([1, 2])
    group = b"\xfb\x07\xfc\x07"
    proto = type(known).FromString(known.SerializeToString() + group)
    assert group in proto.SerializeToString()
    assert decode(proto, 1000).tolist() == [1, 2]


def test_of_two_inputs_of_one_name_the_later_counts_as_to_the_parser():
    first, second = predict_pb2.PredictRequest(), predict_pb2.PredictRequest()
    first.inputs["x"].tensor_content = bytes(LARGE_BYTES)
    second.inputs["x"].float_val.append(1.0)
    read = PredictReader(10**9).read(first.SerializeToString() + second.SerializeToString())
    assert read.content is None
    assert read.message.inputs["x"].float_val == [1.0]


def test_of_several_inputs_none_is_taken_for_another():
    request = predict_pb2.PredictRequest()
    request.inputs["x"].tensor_content = bytes(LARGE_BYTES)
    request.inputs["y"].float_val.append(1.0)
    read = PredictReader(10**9).read(request.SerializeToString())
    assert read.content is None
    assert read.message == request


def test_a_large_message_that_is_none_is_refused_as_a_small_one():
    for data in (b"\xff" * 9, b"\xff" * LARGE_BYTES):
        with pytest.raises(DecodeError):
            Reader().read(data)
        with pytest.raises(DecodeError):
            PredictReader(10**9).read(data)
