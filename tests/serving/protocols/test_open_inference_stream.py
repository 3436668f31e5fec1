"""ModelStreamInfer by unmodified tritonclient: many requests of one stream in flight."""

import asyncio
from collections.abc import AsyncIterator
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from serving.protocols.streams import MAX_IN_FLIGHT
from tests.serving.accounts import account_in
from tests.serving.protocols.open_inference_fixtures import (
    Oip,
    encoded,
    floats,
    oip_running,
    request,
    tensor,
)
from tests.serving.server_fixtures import PATIENT_US

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODES = {"name": "examples", "datatype": "INT32", "shape": [1, 8]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def oip(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    for domain in ("image", "text"):
        tiny.publish(root, domain)
    async with oip_running(root, max_queue_size=4 * MAX_IN_FLIGHT) as oip:
        yield oip


def codes(code: int, request_id: str = "", model: str = "text") -> service_pb2.ModelInferRequest:
    return request(
        model,
        id=request_id,
        inputs=[CODES],
        raw_input_contents=[np.full((1, 8), code, np.int32).tobytes()],
    )


def scores_of(response: service_pb2.ModelInferResponse) -> bytes:
    (index,) = (i for i, output in enumerate(response.outputs) if output.name == "scores")
    return response.raw_output_contents[index]


async def test_the_blocking_client(oip: Oip, tiny) -> None:
    """Answers have their ids, and what is wrong with one harms no other."""
    items = {str(seed): tiny.item("image", seed) for seed in range(1, 9)}

    def ask() -> tuple[dict[str, np.ndarray], list[str]]:
        came: SimpleQueue = SimpleQueue()
        with triton.InferenceServerClient(oip.target) as client:
            client.start_stream(lambda result, error: came.put((result, error)))
            for name, item in items.items():
                client.async_stream_infer("image", [encoded(item)], request_id=name)
                client.async_stream_infer("image", [encoded(b"no picture")], request_id="bad")
            answers = [came.get(timeout=30) for _ in range(2 * len(items))]
            client.stop_stream()
        scores = {
            result.get_response().id: result.as_numpy("scores")[0]
            for result, error in answers
            if error is None
        }
        return scores, [error.message() for _, error in answers if error is not None]

    scores, errors = await asyncio.to_thread(ask)
    assert len(errors) == len(items)
    assert {error[:39] for error in errors} == {"[request id: bad] input 0: not a pictur"}
    for name, item in items.items():
        np.testing.assert_allclose(scores[name], tiny.scores("image", item), atol=1e-5)


async def test_the_async_client(oip: Oip) -> None:
    async def requests() -> AsyncIterator[dict[str, object]]:
        for index in range(5):
            inputs = [tensor("examples", floats(1, 8, 8, 3))]
            yield {"model_name": "image", "inputs": inputs, "request_id": str(index)}

    seen = set()
    async for result, error in oip.client.stream_infer(requests()):
        assert error is None
        seen.add(result.get_response().id)
    assert seen == set("01234")


async def test_requests_of_one_stream_share_a_batch(tiny, tmp_path) -> None:
    """Only four together are a batch that does not wait."""
    tiny.publish(tmp_path, "text")
    async with oip_running(tmp_path, max_batch_size=4, batch_timeout_us=PATIENT_US) as oip:
        stream = oip.stub.ModelStreamInfer(iter([codes(n, str(n)) for n in range(4)]))
        async with asyncio.timeout(PATIENT_US / 2e6):
            answers = [answer.infer_response async for answer in stream]
    assert {account_in(answer)["batch-size"] for answer in answers} == {"4"}


async def test_without_ids_the_order_is_kept(oip: Oip, tiny) -> None:
    """As clients that name none rely on: also where an early one takes longer than a later one."""
    slow = request(
        "image",
        inputs=[{"name": "inputs", "datatype": "BYTES", "shape": [1]}],
        raw_input_contents=[_string(tiny.item("image"))],
    )
    sent = [slow if n % 3 == 0 else codes(n) for n in range(60)]
    alone = [await oip.stub.ModelInfer(one) for one in sent]
    got = [answer.infer_response async for answer in oip.stub.ModelStreamInfer(iter(sent))]
    assert [answer.model_name for answer in got] == [answer.model_name for answer in alone]
    for answer, wanted in zip(got, alone, strict=True):
        scores = np.frombuffer(scores_of(answer), np.float32)
        np.testing.assert_allclose(scores, np.frombuffer(scores_of(wanted), "f4"), atol=1e-5)


async def test_more_than_may_be_in_flight_are_all_answered(oip: Oip) -> None:
    count = 2 * MAX_IN_FLIGHT + 7
    stream = oip.stub.ModelStreamInfer(iter([codes(n % 60, str(n)) for n in range(count)]))
    answers = [answer async for answer in stream]
    assert {answer.infer_response.id for answer in answers} == {str(n) for n in range(count)}
    assert not any(answer.error_message for answer in answers)


async def test_a_client_may_ask_that_an_error_ends_the_stream(oip: Oip) -> None:
    asked = [codes(1, "1", model="none")]
    stream = oip.stub.ModelStreamInfer(iter(asked))
    (answer,) = [answer async for answer in stream]
    assert answer.error_message.startswith("Request for unknown model: 'none' is not found")
    assert answer.infer_response.id == "1"
    stream = oip.stub.ModelStreamInfer(iter(asked), metadata=[("triton_grpc_error", "true")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [answer async for answer in stream]
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_stream_that_is_left_lets_its_version_go(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with oip_running(tmp_path, batch_timeout_us=PATIENT_US) as oip:

        async def endless() -> AsyncIterator[service_pb2.ModelInferRequest]:
            yield codes(1)
            await asyncio.Event().wait()

        stream = oip.stub.ModelStreamInfer(endless())
        await oip.client.is_model_ready("text")
        stream.cancel()
        tiny.publish(tmp_path, "text", 2)
        async with asyncio.timeout(PATIENT_US / 2e6):
            await oip.server.rescan()  # which waits for what holds version 1
        assert (await oip.client.get_model_metadata("text")).versions == ["2"]


def _string(item: bytes) -> bytes:
    return len(item).to_bytes(4, "little") + item
