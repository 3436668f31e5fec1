"""Unmodified tritonclient.grpc asks a whole server: what is answered."""

import asyncio
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.grpc.model_config_pb2 import TYPE_FP32

from tests.serving.accounts import account_in, account_of
from tests.serving.protocols.open_inference_fixtures import (
    Oip,
    encoded,
    floats,
    oip_running,
    request,
    tensor,
)
from tests.serving.server_fixtures import DOMAINS

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHAPES = {"image": (2, 8, 8, 3), "audio": (2, 5, 4)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def oip(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    for domain in DOMAINS:
        tiny.publish(root, domain)
    async with oip_running(root, max_inputs_per_request=64) as oip:
        yield oip


def predicted(tiny, domain: str, examples: np.ndarray) -> dict[str, np.ndarray]:
    """As TensorFlow alone computes it."""
    import tensorflow as tf

    predict = tf.saved_model.load(str(tiny.exported(domain))).signatures["predict"]
    return {name: value.numpy() for name, value in predict(tf.constant(examples)).items()}


async def test_what_the_server_is(oip: Oip) -> None:
    assert await oip.client.is_server_live()
    assert await oip.client.is_server_ready()
    assert await oip.client.is_model_ready("image")
    assert await oip.client.is_model_ready("image", "1")
    told = await oip.client.get_server_metadata()
    assert told.name == "triptych"
    assert {"classification", "binary_tensor_data", "statistics"} <= set(told.extensions)


async def test_what_a_model_is(oip: Oip) -> None:
    told = await oip.client.get_model_metadata("image", "1", as_json=True)
    assert told == {
        "name": "image",
        "versions": ["1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "examples", "datatype": "FP32", "shape": ["-1", "8", "8", "3"]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": ["-1", "6"]},
            {"name": "scores", "datatype": "FP32", "shape": ["-1", "6"]},
        ],
    }
    config = (await oip.client.get_model_config("image")).config
    assert (config.name, config.max_batch_size) == ("image", 64)
    (given,) = config.input
    assert (given.name, given.data_type, list(given.dims)) == ("examples", TYPE_FP32, [8, 8, 3])
    assert config.parameters["executor"].string_value == "openvino"
    batching = config.dynamic_batching
    assert batching.default_priority_level == 5
    assert batching.default_queue_policy.max_queue_size == 1024


@pytest.mark.parametrize("domain", SHAPES)
async def test_tensors_are_predicted_as_by_tensorflow(oip: Oip, tiny, domain) -> None:
    examples = floats(*SHAPES[domain])
    result = await oip.client.infer(domain, [tensor("examples", examples)], request_id="abc")
    wanted = predicted(tiny, domain, examples)
    for name in ("logits", "scores"):
        np.testing.assert_allclose(result.as_numpy(name), wanted[name], atol=1e-5)
    answer = result.get_response()
    assert (answer.model_name, answer.model_version, answer.id) == (domain, "1", "abc")


@pytest.mark.parametrize("domain", DOMAINS)
async def test_encoded_inputs_go_to_classify(oip: Oip, tiny, domain) -> None:
    items = [tiny.item(domain, seed) for seed in range(3)]
    result = await oip.client.infer(domain, [encoded(*items)])
    wanted = [tiny.scores(domain, item) for item in items]
    np.testing.assert_allclose(result.as_numpy("scores"), wanted, atol=1e-5)
    labels = [[label.encode() for label in tiny.labels[domain]]] * 3
    assert result.as_numpy("classes").tolist() == labels


async def test_an_endpoint_can_be_named(oip: Oip, tiny) -> None:
    item = tiny.item("text", 3)
    one = await oip.client.infer(
        "text", [encoded(item)], parameters={"endpoint": "serving_default"}
    )
    np.testing.assert_allclose(one.as_numpy("scores")[0], tiny.scores("text", item), atol=1e-5)
    # One that takes no batch, and finds itself by its input's name too.
    for parameters in ({"endpoint": "preprocess"}, {}):
        codes = await oip.client.infer(
            "text", [tensor("text", np.array(b"a", object).reshape(()))], parameters=parameters
        )
        assert codes.as_numpy("example").tolist() == [ord("a") % 64] + [0] * 7


async def test_outputs_are_those_that_are_asked_for(oip: Oip) -> None:
    wanted = [triton.InferRequestedOutput("scores")]
    answer = await oip.client.infer(
        "image", [tensor("examples", floats(1, 8, 8, 3))], outputs=wanted
    )
    assert [output.name for output in answer.get_response().outputs] == ["scores"]
    assert len(answer.get_response().raw_output_contents) == 1


async def test_classification(oip: Oip, tiny) -> None:
    item = tiny.item("image", 2)
    wanted = [triton.InferRequestedOutput("scores", class_count=2)]
    result = await oip.client.infer("image", [encoded(item)], outputs=wanted)
    scores = tiny.scores("image", item)
    ((first, second),) = result.as_numpy("scores").tolist()
    for text, index in zip((first, second), np.argsort(-scores)[:2], strict=True):
        value, found, label = text.decode().split(":")
        assert (int(found), label) == (index, tiny.labels["image"][index])
        assert float(value) == pytest.approx(scores[index], abs=1e-5)
    everything = [triton.InferRequestedOutput("scores", class_count=99)]
    result = await oip.client.infer("image", [encoded(item)], outputs=everything)
    assert result.as_numpy("scores").shape == (1, 6)


async def test_an_output_that_is_asked_for_twice_comes_once(oip: Oip) -> None:
    """Else an answer could be made any number of times as large as its request."""
    outputs = [{"name": "scores"}] * 50
    answer = await oip.stub.ModelInfer(
        request(
            inputs=[{"name": "examples", "datatype": "FP32", "shape": [1, 8, 8, 3]}],
            raw_input_contents=[floats(1, 8, 8, 3).tobytes()],
            outputs=outputs,
        )
    )
    assert len(answer.outputs) == len(answer.raw_output_contents) == 1


async def test_typed_contents(oip: Oip) -> None:
    examples = floats(1, 8, 8, 3)
    fields = {"name": "examples", "datatype": "FP32", "shape": examples.shape}
    values = {"fp32_contents": examples.ravel().tolist()}
    typed = await oip.stub.ModelInfer(request(inputs=[{**fields, "contents": values}]))
    raw = await oip.stub.ModelInfer(
        request(inputs=[fields], raw_input_contents=[examples.tobytes()])
    )
    assert typed.raw_output_contents == raw.raw_output_contents
    codes = {"name": "examples", "datatype": "INT32", "shape": [1, 8]}
    text = await oip.stub.ModelInfer(
        request("text", inputs=[{**codes, "contents": {"int_contents": range(8)}}])
    )
    assert [list(output.shape) for output in text.outputs] == [[1, 2]] * 2


async def test_each_answer_tells_where_its_time_went(oip: Oip) -> None:
    fields = {"name": "examples", "datatype": "FP32", "shape": [1, 8, 8, 3]}
    call = oip.stub.ModelInfer(
        request(inputs=[fields], raw_input_contents=[floats(1, 8, 8, 3).tobytes()])
    )
    answer = await call
    account = account_of(await call.trailing_metadata())
    assert int(account["compute-us"]) > 0
    assert account["version"] == "1"
    assert (account["batch-size"], account["executor"]) == ("1", "openvino")
    assert account_in(answer) == account  # for clients that do not show metadata


async def test_the_blocking_client(oip: Oip, tiny) -> None:
    """In a thread, as the server has this one."""

    def ask() -> list[np.ndarray]:
        with triton.InferenceServerClient(oip.target) as client:
            assert client.is_server_ready()
            plain = client.infer("image", [encoded(tiny.item("image"))])
            later: SimpleQueue[Any] = SimpleQueue()
            client.async_infer(
                "image",
                [encoded(tiny.item("image"))],
                callback=lambda result, error: later.put(error or result),
            )
            return [plain.as_numpy("scores")[0], later.get(timeout=30).as_numpy("scores")[0]]

    for scores in await asyncio.to_thread(ask):
        wanted = tiny.scores("image", tiny.item("image"))
        np.testing.assert_allclose(scores, wanted, atol=1e-5)


async def test_statistics_count_what_was_asked(oip: Oip) -> None:
    async def counted() -> service_pb2.ModelStatistics:
        (told,) = (await oip.client.get_inference_statistics("audio", "1")).model_stats
        return told

    before = await counted()
    for _ in range(3):
        await oip.client.infer("audio", [tensor("examples", floats(2, 5, 4))])
    after = await counted()
    stats = [told.inference_stats for told in (before, after)]
    assert stats[1].success.count - stats[0].success.count == 3
    assert stats[1].compute_infer.ns > stats[0].compute_infer.ns
    assert after.inference_count - before.inference_count == 6
    assert after.execution_count > before.execution_count
    rows = sum(batch.batch_size * batch.compute_infer.count for batch in after.batch_stats)
    assert rows == after.inference_count
    everything = await oip.client.get_inference_statistics()
    assert {told.name for told in everything.model_stats} == set(DOMAINS)


async def test_there_is_no_shared_memory_and_nothing_is_traced(oip: Oip) -> None:
    """The calls that clients make to clean up go well; those that want some are refused."""
    client = oip.client
    assert not (await client.get_system_shared_memory_status()).regions
    assert not (await client.get_cuda_shared_memory_status()).regions
    await client.unregister_system_shared_memory()
    await client.unregister_cuda_shared_memory()
    assert not (await client.get_trace_settings()).settings
    assert not (await client.get_log_settings()).settings


async def test_the_configuration_is_what_the_queue_really_has(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "image")
    async with oip_running(
        tmp_path, max_queue_size=77, batch_timeout_us=1500, queue_timeout_ms=250
    ) as oip:
        batching = (await oip.client.get_model_config("image")).config.dynamic_batching
    assert batching.max_queue_delay_microseconds == 1500
    assert batching.default_queue_policy.max_queue_size == 77
    assert batching.default_queue_policy.default_timeout_microseconds == 250_000
