"""What is written by hand is what protobuf reads."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import InferResult, service_pb2

from serving.account import Account
from serving.protocols.open_inference_call import Result
from serving.protocols.open_inference_response import response, streamed
from tests.serving.accounts import account_in

ACCOUNT = Account(queue_us=7, compute_us=2**40, batch_size=8, version=3, executor="openvino")
ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype(np.float32), np.dtype(np.int64), np.dtype(bool)]),
    hnp.array_shapes(max_dims=3, max_side=20),
)


@given(st.text(max_size=300), st.dictionaries(st.text(max_size=200), ARRAYS, max_size=3))
def test_a_response_is_read_as_it_was_meant(request_id, outputs):
    written = response("digits", request_id, Result(3, list(outputs.items()), ACCOUNT))
    read = service_pb2.ModelInferResponse.FromString(written)
    assert (read.model_name, read.model_version, read.id) == ("digits", "3", request_id)
    assert [output.name for output in read.outputs] == list(outputs)
    for name, value in outputs.items():
        np.testing.assert_array_equal(InferResult(read).as_numpy(name), value, strict=True)
    assert account_in(read)["compute-us"] == str(2**40)
    on_stream = service_pb2.ModelStreamInferResponse.FromString(streamed(written))
    assert on_stream.infer_response == read
    assert not on_stream.error_message


def test_strings_have_their_lengths() -> None:
    labels = np.array([[b"ship", b""]], object)
    written = response("m", "", Result(1, [("classes", labels)], ACCOUNT))
    read = InferResult(service_pb2.ModelInferResponse.FromString(written))
    np.testing.assert_array_equal(read.as_numpy("classes"), labels)
