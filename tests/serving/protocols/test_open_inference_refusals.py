"""What the Open Inference Protocol refuses, in Triton's words and codes, and never as INTERNAL."""

import asyncio
from contextlib import suppress

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as triton
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tests.serving.protocols.open_inference_fixtures import (
    Oip,
    denied,
    encoded,
    floats,
    oip_running,
    request,
    tensor,
)
from tests.serving.server_fixtures import PATIENT_US, refused, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Status = grpc.StatusCode
INVALID = Status.INVALID_ARGUMENT
EXAMPLES = {"name": "examples", "datatype": "FP32", "shape": [1, 8, 8, 3]}
IMAGE = floats(1, 8, 8, 3).tobytes()
UNKNOWN_ID = "[request id: <id_unknown>] "


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def oip(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    for domain in ("image", "text"):
        tiny.publish(root, domain)
    async with oip_running(root, max_inputs_per_request=8) as oip:
        yield oip


def image(**changes: object) -> service_pb2.ModelInferRequest:
    fields = {"inputs": [EXAMPLES], "raw_input_contents": [IMAGE]}
    return request(**{**fields, **changes})


def parameter(name: str, **value: object) -> dict[str, service_pb2.InferParameter]:
    return {name: service_pb2.InferParameter(**value)}


def shaped(*sizes: int, **changes: object) -> dict[str, object]:
    return {**EXAMPLES, "shape": sizes, **changes}


def output(**value: object) -> list[object]:
    wanted = service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="scores")
    for name, given_ in parameter("classification", **value).items():
        wanted.parameters[name].CopyFrom(given_)
    return [wanted]


# fmt: off
CASES = [
    (image(model_version="7"), Status.NOT_FOUND,
     "Request for unknown model: 'image' version 7 is not found: "),
    (image(model_version="v1"), INVALID,
     "failed to get model version from specified version string 'v1' (details: "),
    (image(model_version="-1"), INVALID, "failed to get model version from specified version"),
    (image(model_version="9" * 5000), INVALID, "failed to get model version from specified"),
    (image(inputs=[]), INVALID,
     "unexpected additional input data for model 'image'"),
    (image(inputs=[], raw_input_contents=[]), INVALID,
     UNKNOWN_ID + "expected 1 inputs but got 0 inputs for model 'image'. Got input(s) [], but "
     "missing required input(s) ['examples']. Please provide all required input(s)."),
    (image(inputs=[EXAMPLES, shaped(1, name="more")], raw_input_contents=[IMAGE, IMAGE]), INVALID,
     UNKNOWN_ID + "expected 1 inputs but got 2 inputs for model 'image'. Got input(s) "
     "['examples','more'], but missing required input(s) []."),
    (image(inputs=[EXAMPLES, EXAMPLES], raw_input_contents=[IMAGE, IMAGE]), INVALID,
     UNKNOWN_ID + "input 'examples' already exists in request"),
    (image(inputs=[shaped(1, 8, 8, 3, name="pixels")]), INVALID,
     UNKNOWN_ID + "unexpected inference input 'pixels' for model 'image'"),
    (image(outputs=[{"name": "probabilities"}]), INVALID,
     "unexpected inference output 'probabilities' for model 'image'"),
    (image(id="42", inputs=[shaped(1, 8, 8, 3, datatype="FP64")]), INVALID,
     "[request id: 42] inference input 'examples' data-type is 'FP64', but model 'image' expects"),
    (image(inputs=[shaped(1, 8, 8, 4)]), INVALID,
     UNKNOWN_ID + "unexpected shape for input 'examples' for model 'image'. Expected [-1,8,8,3], "
     "got [1,8,8,4]. NOTE: "),
    (image(inputs=[shaped(9, 8, 8, 3)]), INVALID,
     UNKNOWN_ID + "inference request batch-size must be <= 8 for 'image'"),
    (image(inputs=[shaped(2, 8, 8, 3)]), INVALID,
     UNKNOWN_ID + "input byte size mismatch for input 'examples' for model 'image'. Expected "
     "1536, got 768"),
    (image(inputs=[shaped(-5, 8, 8, 3)]), INVALID, "contains an invalid dimension"),
    (image(inputs=[shaped(0, 8, 8, 3)], raw_input_contents=[b""]), INVALID, "is empty"),
    (image(raw_input_contents=[b"\xff" * 768]), INVALID, "no number (NaN)"),
    (image(raw_input_contents=[]), INVALID,
     "unable to find data for input tensor 'examples' for model 'image' in request."),
    (image(inputs=[{**EXAMPLES, "contents": {"fp32_contents": [1]}}]), INVALID,
     "contents field must not be specified when using raw_input_contents for 'examples' for"),
    (image(inputs=[{**EXAMPLES, "contents": {"int_contents": [1]}}], raw_input_contents=[]),
     INVALID, "unexpected explicit tensor data for input tensor 'examples' for model 'image' of "
     "type 'INT32', expected datatype 'FP32'"),
    (image(outputs=output(string_param="2")), INVALID,
     "invalid value type for 'classification' parameter, expected int64_param"),
    (image(outputs=output(int64_param=-2)), INVALID, "invalid value for 'classification'"),
    (image(parameters=parameter("priority", string_param="1")), INVALID,
     "invalid value type for 'priority' parameter, expected int64_param or uint64_param."),
    (image(parameters=parameter("priority", int64_param=-1)), INVALID,
     "invalid value for 'priority', expected value >= 0."),
    (image(parameters=parameter("timeout", bool_param=True)), INVALID,
     "invalid value type for 'timeout' parameter, expected int64_param."),
    (image(parameters=parameter("triton_x", bool_param=True)), INVALID,
     "parameter keys starting with 'triton_' are reserved for Triton usage."),
    (image(parameters=parameter("endpoint", int64_param=1)), INVALID,
     "invalid value type for 'endpoint' parameter, expected string_param."),
    (image(parameters=parameter("endpoint", string_param="embed")), INVALID,
     "model 'image' has no endpoint 'embed'. It has 'classify'"),
    (request(inputs=[{"name": "inputs", "datatype": "BYTES", "shape": [1]}],
             raw_input_contents=[b"\3\0\0\0abc"]), INVALID,
     UNKNOWN_ID + "input 0: not a picture"),
    (request(inputs=[{"name": "inputs", "datatype": "BYTES", "shape": [1]}],
             raw_input_contents=[b"\3\0\0\0ab"]), INVALID,
     UNKNOWN_ID + "incomplete string data for inference input 'inputs'"),
]
# fmt: on


@pytest.mark.parametrize(("asked", "code", "told"), CASES)
async def test_a_request_is_refused_as_by_triton(oip: Oip, asked, code, told) -> None:
    found, message = await refused(oip.stub.ModelInfer(asked))
    assert message.startswith(told) or (len(told) < 60 and told in message), message
    assert found is code


async def test_a_model_that_there_is_not(oip: Oip) -> None:
    told = "Request for unknown model: 'imgae' is not found: "
    for call in (
        oip.client.infer("imgae", [tensor("examples", floats(1, 8, 8, 3))]),
        oip.client.is_model_ready("imgae"),
        oip.client.get_model_metadata("imgae"),
        oip.client.get_model_config("imgae"),
        oip.client.get_inference_statistics("imgae"),
    ):
        code, message = await denied(call)
        assert (code, message.startswith(told)) == (Status.NOT_FOUND, True)
        assert "Did you mean 'image'?" in message


async def test_shared_memory_is_refused(oip: Oip) -> None:
    for call in (
        oip.client.register_system_shared_memory("region", "/key", 64),
        oip.client.register_cuda_shared_memory("region", b"", 0, 64),
        oip.client.update_trace_settings(settings={"trace_rate": "1"}),
        oip.client.update_log_settings({"log_info": False}),
    ):
        assert (await denied(call))[0] is Status.UNIMPLEMENTED
    given_ = triton.InferInput("examples", [1, 8, 8, 3], "FP32")
    given_.set_shared_memory("region", 768)
    code, message = await denied(oip.client.infer("image", [given_]))
    assert (code, "shared memory region" in message) == (INVALID, True)


SIZES = st.one_of(st.sampled_from([1, 8, 3, -1, 0]), st.integers(-(2**63), 2**63 - 1))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["examples", "inputs", "image", ""]),
    datatype=st.sampled_from(["FP32", "BYTES", "UINT8", "INT64", ""]),
    shape=st.lists(SIZES, max_size=5),
    contents=st.lists(st.binary(max_size=40), max_size=2),
    version=st.text(max_size=3),
    model=st.sampled_from(["image", "text"]),
)
async def test_garbage_is_the_callers_mistake(
    oip: Oip, name, datatype, shape, contents, version, model
) -> None:
    asked = request(
        model,
        model_version=version,
        inputs=[{"name": name, "datatype": datatype, "shape": shape}],
        raw_input_contents=contents,
    )
    call = oip.stub.ModelInfer(asked)
    with suppress(grpc.aio.AioRpcError):
        await call
    code = await call.code()
    assert code in (Status.OK, INVALID, Status.NOT_FOUND), await call.details()


async def test_a_full_queue_and_a_wait_in_vain(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "image")
    options = {"max_queue_size": 2, "batch_timeout_us": PATIENT_US, "max_batch_size": 8}
    examples = tensor("examples", floats(2, 8, 8, 3))
    async with oip_running(tmp_path, **options) as oip:
        code, message = await denied(oip.client.infer("image", [examples], timeout=20_000))
        assert code is Status.UNAVAILABLE
        assert message.startswith("Request timeout expired")
        waiting = oip.stub.ModelInfer(image())
        # Behind it on the same connection, so that it has arrived before.
        await oip.stub.ModelReady(service_pb2.ModelReadyRequest(name="image"))
        code, message = await denied(oip.client.infer("image", [examples], request_id="9"))
        assert code is Status.UNAVAILABLE
        assert message.startswith("[request id: 9] Exceeds maximum queue size")
        waiting.cancel()


async def test_the_urgent_go_first(tiny, tmp_path) -> None:
    """One row a batch: so the order of the answers is that of the queue."""
    tiny.publish(tmp_path, "text")
    done: list[int] = []
    async with oip_running(tmp_path, max_batch_size=1, threads=1) as oip:

        async def ask(priority: int, rows: int = 1) -> None:
            codes = tensor("examples", np.zeros((rows, 8), np.int32))
            await oip.client.infer("text", [codes], priority=priority)
            done.append(priority)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask(2, rows=256))
            await oip.client.is_model_ready("text")  # so that it has arrived
            for priority in (9, 0, 1):
                group.create_task(ask(priority))
    assert done == [1, 2, 0, 9]


async def test_a_version_that_is_not_ready(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", change=tiny.spoil_golden)
    async with oip_running(tmp_path) as oip:
        codes = tensor("examples", np.zeros((1, 8), np.int32))
        code, message = await denied(oip.client.infer("text", [codes], model_version="1"))
        assert code is Status.UNAVAILABLE
        assert message.startswith("'text' version 1 is not at ready state: ")
        assert "golden scores" in message
        code, message = await denied(oip.client.infer("text", [codes]))
        assert code is Status.NOT_FOUND
        assert message.startswith("Request for unknown model: 'text' has no available versions: ")


async def test_a_server_that_ends_says_so(tiny, tmp_path) -> None:
    """UNAVAILABLE, which clients send elsewhere, and not that the model is unknown."""
    tiny.publish(tmp_path, "text")
    async with oip_running(tmp_path, batch_timeout_us=1_000_000) as oip:
        last = asyncio.create_task(oip.client.infer("text", [encoded("x")]))
        await oip.client.is_server_ready()
        stopping = asyncio.create_task(oip.server.stop())
        await asyncio.sleep(0)
        for call in (oip.client.is_server_live(), oip.client.is_server_ready()):
            code, message = await denied(call)
            assert (code, message.split(":")[0]) == (Status.UNAVAILABLE, "Server exiting")
        refusals: list[tuple[Status, str]] = []

        async def models_are_refused() -> bool:
            with suppress(pytest.fail.Exception):  # of what is still answered
                refusals.append(await denied(oip.client.is_model_ready("text")))
            return bool(refusals)

        await until(models_are_refused)
        ((code, message),) = refusals
        assert (code, message.split(":")[0]) == (Status.UNAVAILABLE, "Server exiting")
        assert (await last).as_numpy("scores").shape == (1, 2)
        await stopping
