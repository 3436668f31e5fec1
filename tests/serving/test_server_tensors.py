"""Tensors that a whole server takes: token codes of ours, number types of foreign SavedModels."""

import httpx
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.protocols.open_inference_tensors import datatype_of
from serving.protocols.tensorflow_serving_tensors import decode, encode
from tests.serving.conftest import CODES
from tests.serving.server_fixtures import Client, Status, refused, running

TYPES = {"half": np.float16, "brain": ml_dtypes.bfloat16}
ALLOWED = f"takes codes from 0 to {CODES - 1}"


async def infer(client: Client, model: str, name: str, value: np.ndarray) -> list[np.ndarray]:
    """By the Open Inference Protocol. Outputs are all of the input's type, or else float32."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype=datatype_of(value.dtype), shape=value.shape)
    request.raw_input_contents.append(value.tobytes())
    answer = await service_pb2_grpc.GRPCInferenceServiceStub(client.channel).ModelInfer(request)
    kinds = {"FP32": np.float32, "FP16": np.float16, "BF16": ml_dtypes.bfloat16}
    return [
        np.frombuffer(raw, kinds[output.datatype]).reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    ]


async def predict(
    client: Client, model: str, signature: str, name: str, value: np.ndarray
) -> dict[str, np.ndarray]:
    """As of TensorFlow Serving."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    encode(value, request.inputs[name])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(client.channel)
    answer = await stub.Predict(request)
    return {name: decode(proto, 10**6) for name, proto in answer.outputs.items()}


@pytest.mark.parametrize("executor", ["openvino", "tensorflow"])
async def test_codes_out_of_the_vocabulary_reach_no_executor(tiny, tmp_path, executor) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, executor=executor) as client:
        good = np.array([[0, CODES - 1, 7]], np.int32)
        _, scores = await infer(client, "text", "examples", good)
        answer = await predict(client, "text", "predict", "examples", good)
        np.testing.assert_allclose(answer["scores"], scores, atol=1e-6)
        for bad, place in ((CODES, 2), (-1, 0), (2**31 - 1, 1)):
            codes = good.copy()
            codes[0, place] = bad
            for call, where in ((infer, ("text",)), (predict, ("text", "predict"))):
                code, message = await refused(call(client, *where, "examples", codes))
                assert code is Status.INVALID_ARGUMENT
                assert f"input 'examples' is {bad} at [0, {place}]" in message
                assert ALLOWED in message


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """half and brain are served; one of quantised numbers is not, nor harms the others."""
    root = tmp_path_factory.mktemp("repository")
    types = {"half": tf.float16, "brain": tf.bfloat16, "quantised": tf.qint8}
    for name, dtype in types.items():
        spec = tf.TensorSpec([None, 2], dtype, "x")

        @tf.function(input_signature=[spec])
        def double(x, dtype=dtype):
            return {"y": x if dtype.is_quantized else x + x}

        tf.saved_model.save(
            tf.Module(), str(root / name / "1"), signatures={"serving_default": double}
        )
    return root


@pytest.mark.parametrize("executor", ["openvino", "tensorflow", "auto"])
async def test_short_floats_come_back_as_they_are(foreign, executor) -> None:
    x = np.array([[0.5, 1], [-3, 0.25]])
    async with running(foreign, executor=executor) as client:
        for model, dtype in TYPES.items():
            given = x.astype(dtype)
            (y,) = await infer(client, model, "x", given)
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, given * dtype(2))
            answer = await predict(client, model, "serving_default", "x", given)
            assert answer["y"].dtype == dtype
            np.testing.assert_array_equal(answer["y"], given * dtype(2))


async def test_an_answer_that_json_cannot_hold_is_no_mistake_of_ours(tmp_path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def turn(x):
        return {"z": tf.complex(x, -x)}

    tf.saved_model.save(
        tf.Module(), str(tmp_path / "turn" / "1"), signatures={"serving_default": turn}
    )
    x = np.array([1, 2], np.float32)
    inputs = [{"name": "x", "datatype": "FP32", "shape": [2], "data": x.tolist()}]
    async with running(tmp_path) as client, httpx.AsyncClient(base_url=client.url) as http:
        answer = await http.post("/v2/models/turn/infer", json={"inputs": inputs})
        assert answer.status_code == 400
        assert "binary data format for output 'z'" in answer.json()["error"]
        wanted = await predict(client, "turn", "serving_default", "x", x)
        np.testing.assert_array_equal(wanted["z"], [1 - 1j, 2 - 2j])


async def test_a_version_that_no_client_could_call_says_why(foreign) -> None:
    async with running(foreign) as client:
        (status,) = (await client.versions("quantised")).values()
        assert status.State.Name(status.state) == "FAILED"
        assert "input 'x', which is qint8" in status.reason
        assert (await client.http("/v2/models/quantised"))[0] == 404
        assert (await client.http("/v2/models/half"))[0] == 200
        status, metadata = await client.http("/v1/models/brain/metadata")
        assert (status, "DT_BFLOAT16" in metadata) == (200, True)
