"""Streams of whole servers, by a client that sends without reading, and reads when it has sent."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import tensorflow as tf
from tritonclient.grpc import service_pb2, service_pb2_grpc

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, ClassifyStreamRequest, Input
from serving.protocols.streams import MAX_IN_FLIGHT
from tests.serving.server_fixtures import Client, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 5_000
ANSWER_BYTES = 10_000  # of each
# That gRPC takes for a client that reads nothing: 4 MiB were seen.
BUFFERED_BYTES = 8 * 2**20
STEADY = 20  # looks at the count that find no change
REQUESTS = re.compile(r'^triptych_requests_total\{.*protocol="(\w+)".*\} (\S+)$', re.MULTILINE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tiny, tmp_path_factory) -> AsyncIterator[Client]:
    root = tmp_path_factory.mktemp("repository")
    tiny.publish(root, "text", change=lambda folder: tiny.rewrite_manifest(folder, _lengthen))
    _save_wide(root / "wide" / "1")
    async with running(root, max_queue_size=2 * MAX_IN_FLIGHT) as client:
        yield client


def _lengthen(manifest: Any) -> None:
    manifest.labels[:] = [label * (ANSWER_BYTES // 8) for label in manifest.labels]


def _save_wide(folder: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.int32, "x")])
    def wide(x):
        return {"y": tf.tile(x, [1, ANSWER_BYTES // 4])}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": wide})


def oip_request(number: int) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="wide", id=str(number))
    request.inputs.add(name="x", datatype="INT32", shape=[1, 1])
    request.raw_input_contents.append(np.int32(number).tobytes())
    return request


def own_request(number: int) -> ClassifyStreamRequest:
    """One in ten is of a model that there is not."""
    model = "text" if number % 10 else "none"
    request = ClassifyRequest(model=model, inputs=[Input(text="a text")])
    return ClassifyStreamRequest(id=str(number), request=request)


async def answered_so_far(client: Client, protocol: str) -> int:
    _, text = await client.http("/metrics")
    return sum(int(float(count)) for name, count in REQUESTS.findall(text) if name == protocol)


async def steady(client: Client, protocol: str, least: int) -> int:
    """How many are answered once no more are, and as many as `least`."""
    counts = [0]
    async with asyncio.timeout(60):
        while counts[-STEADY:] != [counts[-1]] * STEADY or counts[-1] < least:
            counts.append(await answered_so_far(client, protocol))
    return counts[-1]


async def answers_of(client: Client, stream: Any, protocol: str, make: Any) -> list[Any]:
    """Of a client that reads the first only when the server does no more."""

    async def send() -> None:
        for number in range(MANY):
            await stream.write(make(number))
        await stream.done_writing()

    before = await answered_so_far(client, protocol)
    sending = asyncio.create_task(send())
    answered = await steady(client, protocol, before + MAX_IN_FLIGHT + 1) - before
    assert answered < MAX_IN_FLIGHT + BUFFERED_BYTES // ANSWER_BYTES
    assert not sending.done()  # the client waits, and nothing is refused
    answers = [answer async for answer in stream]
    await sending
    return answers


async def test_the_open_inference_protocol(client: Client) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(client.channel)
    answers = await answers_of(client, stub.ModelStreamInfer(), "oip", oip_request)
    numbers = [int(answer.infer_response.id) for answer in answers]
    assert sorted(numbers) == list(range(MANY))
    for number, answer in zip(numbers, answers, strict=True):
        (raw,) = answer.infer_response.raw_output_contents
        assert np.frombuffer(raw, np.int32)[-1] == number


async def test_our_own(client: Client) -> None:
    answers = await answers_of(client, client.stub.ClassifyStream(), "triptych", own_request)
    assert sorted(int(answer.id) for answer in answers) == list(range(MANY))
    for answer in answers:
        if int(answer.id) % 10:
            (result,) = answer.response.results
            assert result.labels[0].label[:3] in ("goo", "bad")
        else:
            assert "no model is named 'none'" in answer.error.message
