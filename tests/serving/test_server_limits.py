"""What the server takes at most, and what a caller who leaves gives back."""

import asyncio

import pytest

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, Input, VersionStatus
from tests.serving.server_fixtures import PATIENT_SECONDS, PATIENT_US, Status, refused, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (
            ClassifyRequest(model="text", inputs=[Input(text="x")] * 9),
            Status.INVALID_ARGUMENT,
            ["9 inputs", "8 are allowed", "TRIPTYCH_MAX_INPUTS_PER_REQUEST"],
        ),
        (
            ClassifyRequest(model="text", inputs=[Input(text="x" * 1001)]),
            Status.INVALID_ARGUMENT,
            ["input 0: ", "1,001 characters", "TRIPTYCH_MAX_CHARACTERS"],
        ),
        (
            ClassifyRequest(model="text", inputs=[Input(text="x" * 100_001)]),
            Status.RESOURCE_EXHAUSTED,
            ["larger than max"],
        ),
    ],
    ids=("inputs", "characters", "bytes"),
)
async def test_what_is_too_much_says_how_much_may_be(client, request_, code, told) -> None:
    found, message = await refused(client.stub.Classify(request_))
    assert found is code
    for words in told:
        assert words in message


async def test_a_caller_who_leaves_leaves_room(tiny, tmp_path) -> None:
    """DEADLINE_EXCEEDED, and then neither the queue nor the version is held any more."""
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, max_queue_size=2, batch_timeout_us=PATIENT_US) as client:
        full = ClassifyRequest(model="text", inputs=[Input(text="x")] * 2)
        waiting = client.stub.Classify(full)
        await client.versions("text")  # so that it has arrived, as the connection keeps order
        code, message = await refused(client.classify("text", "y"))
        assert code is Status.RESOURCE_EXHAUSTED
        assert "TRIPTYCH_MAX_QUEUE_SIZE" in message
        waiting.cancel()

        for _ in range(3):
            code, _ = await refused(client.stub.Classify(full, timeout=0.2))
            assert code is Status.DEADLINE_EXCEEDED
        tiny.publish(tmp_path, "text", 2)
        async with asyncio.timeout(PATIENT_SECONDS / 2):
            await client.server.rescan()  # which waits for what holds version 1
        states = {n: status.state for n, status in (await client.versions("text")).items()}
        assert states == {2: VersionStatus.READY, 1: VersionStatus.DISABLED}
