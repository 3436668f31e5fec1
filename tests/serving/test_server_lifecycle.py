"""Health, new and bad versions, and how a server ends.

How a process ends on a signal is in test_serve.py.
"""

import asyncio
import shutil

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.triptych.v1.classifier_pb2 import (
    ClassifyRequest,
    ClassifyResponse,
    GetModelRequest,
    Input,
    ListModelsRequest,
    VersionStatus,
)
from serving.errors import RepositoryError
from serving.server import Server
from serving.settings import Settings
from tests.serving.server_fixtures import (
    DOMAINS,
    NOT_SERVING,
    PATIENT_SECONDS,
    PATIENT_US,
    SERVICE,
    SERVING,
    Client,
    Status,
    refused,
    running,
    scores_of,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What is known about it


async def test_health_of_the_server_and_of_each_model(client) -> None:
    for service in ("", SERVICE, *DOMAINS):
        assert await client.health(service) == SERVING
    code, _ = await refused(client.health("none"))
    assert code is Status.NOT_FOUND
    assert await client.http("/readyz") == (200, "ready\n")


async def test_reflection_lists_the_services_and_their_schema(client) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    assert b"ClassifyRequest" in answers[1].file_descriptor_response.file_descriptor_proto[0]


async def test_an_empty_repository_is_served_once_it_is_not(tiny, tmp_path) -> None:
    async with running(tmp_path) as client:
        assert await client.health() == await client.health(SERVICE) == NOT_SERVING
        status, reason = await client.http("/readyz")
        assert (status, "triptych export" in reason) == (503, True)
        code, message = await refused(client.classify("", "x"))
        assert (code, "triptych export" in message) == (Status.NOT_FOUND, True)

        tiny.publish(tmp_path, "text")
        await client.server.rescan()
        assert await client.health() == await client.health("text") == SERVING
        assert (await client.http("/readyz"))[0] == 200
        response = await client.classify("", "no name is needed")
        assert response.model == "text"


async def test_a_missing_repository_is_an_error_at_once(tmp_path) -> None:
    server = Server(Settings(repository=tmp_path / "none", grpc_port=0, http_port=0))
    with pytest.raises(RepositoryError, match="cannot list"):
        await server.start()
    await server.stop()


@pytest.mark.parametrize(
    ("setting", "words"), [("grpc_port", "for gRPC"), ("http_port", "for HTTP")]
)
async def test_a_taken_port_is_named(tmp_path, unused_tcp_port_factory, setting, words) -> None:
    port = unused_tcp_port_factory()
    ports = {"grpc_port": 0, "http_port": 0} | {setting: port}
    async with running(tmp_path, **ports):
        second = Server(Settings(repository=tmp_path, **ports))
        with pytest.raises(OSError, match=f"port {port} {words}.*Choose another with --"):
            await second.start()
        await second.stop()


# What changes while it runs


async def test_a_new_version_takes_over_and_no_request_fails(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "image", 1, seed=0)
    item = tiny.item("image", 2)
    wanted = {version: tiny.scores("image", item, seed=version - 1) for version in (1, 2)}
    assert np.abs(wanted[1] - wanted[2]).max() > 0.01
    answers: list[ClassifyResponse] = []
    enough = asyncio.Event()

    async def traffic(client: Client) -> None:
        while not enough.is_set():
            answers.append(await client.classify("image", item, top_k=6))

    async with running(tmp_path, poll_seconds=0.02) as client:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(traffic(client))
            await until(lambda: asyncio.sleep(0, len(answers) > 20))
            tiny.publish(tmp_path, "image", 2, seed=1)
            await until(lambda: asyncio.sleep(0, answers[-1].version == 2))
            before = len(answers)
            await until(lambda: asyncio.sleep(0, len(answers) > before + 20))
            enough.set()
        pinned, message = await refused(client.classify("image", item, version=1))
    versions = [answer.version for answer in answers]
    assert set(versions) == {1, 2}
    assert set(versions[-10:]) == {2}
    for answer in answers:
        np.testing.assert_allclose(scores_of(answer), wanted[answer.version], atol=1e-5)
    assert (pinned, "version 2 is ready" in message) == (Status.UNAVAILABLE, True)


async def test_a_half_copied_version_is_never_served(tiny, tmp_path) -> None:
    """File by file, the manifest first: as a slow copy may arrive."""
    tiny.publish(tmp_path, "text", 1)
    source = tiny.exported("text", seed=1)
    files = sorted((path for path in source.rglob("*") if path.is_file()), reverse=True)
    files.sort(key=lambda path: path.name != "manifest.json")
    async with running(tmp_path) as client:
        for path in files:
            target = tmp_path / "text" / "2" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes()[:-1])
            await client.server.rescan()
            assert (await client.classify("text", "x")).version == 1
            assert (await client.versions("text"))[2].state == VersionStatus.NEW
            shutil.copyfile(path, target)
        await client.server.rescan()
        assert (await client.classify("text", "x")).version == 2


async def test_a_version_with_other_scores_is_refused_and_the_old_one_stays(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", 1)
    async with running(tmp_path) as client:
        tiny.publish(tmp_path, "text", 2, change=tiny.spoil_golden)
        await client.server.rescan()
        assert (await client.classify("text", "x")).version == 1
        versions = await client.versions("text")
        assert versions[1].state == VersionStatus.READY
        assert versions[2].state == VersionStatus.FAILED
        assert "golden scores are not reproduced by openvino" in versions[2].reason
        assert await client.health("text") == SERVING
        code, message = await refused(client.classify("text", "x", version=2))
        assert (code, "golden" in message) == (Status.UNAVAILABLE, True)


async def test_a_model_without_a_sound_version_is_unavailable(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", change=tiny.spoil_golden)
    tiny.publish(tmp_path, "audio")
    async with running(tmp_path) as client:
        code, message = await refused(client.classify("text", "x"))
        assert (code, "golden" in message) == (Status.UNAVAILABLE, True)
        assert await client.health("text") == NOT_SERVING
        assert await client.health() == SERVING
        models = (await client.stub.ListModels(ListModelsRequest())).models
        assert [(m.name, list(m.versions)) for m in models] == [("audio", [1]), ("text", [])]
        answer = await client.stub.GetModel(GetModelRequest(model="text"))
        assert not answer.HasField("manifest")


async def test_a_repository_that_vanishes_takes_nothing_from_memory(tiny, tmp_path) -> None:
    root = tmp_path / "repository"
    tiny.publish(root, "text")
    async with running(root, poll_seconds=0.02) as client:
        root.rename(tmp_path / "elsewhere")
        tiny.publish(tmp_path / "elsewhere", "audio")
        with pytest.raises(RepositoryError):
            await client.server.rescan()
        assert (await client.classify("text", "x")).version == 1
        (tmp_path / "elsewhere").rename(root)

        async def audio_is_served() -> bool:
            models = (await client.stub.ListModels(ListModelsRequest())).models
            return [list(m.versions) for m in models] == [[1], [1]] and (
                await client.health("audio") == SERVING
            )

        await until(audio_is_served)


# How it ends


async def test_stopping_answers_what_is_in_progress(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, batch_timeout_us=500_000) as client:
        request = ClassifyRequest(model="text", inputs=[Input(text="x")])
        calls = [client.stub.Classify(request) for _ in range(8)]
        await client.versions("text")  # so that they have arrived
        await client.server.stop()
        assert [(await call).version for call in calls] == [1] * 8
        code, _ = await refused(client.stub.Classify(request))
        assert code is Status.UNAVAILABLE


async def test_while_it_ends_new_calls_are_told_so(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, batch_timeout_us=1_000_000) as client:
        in_progress = client.stub.Classify(ClassifyRequest(model="text", inputs=[Input(text="x")]))
        await client.versions("text")
        stopping = asyncio.create_task(client.server.stop())
        messages = []

        async def unavailable() -> bool:
            code, message = await refused(client.classify("none", "x"))
            messages.append(message)
            return code is Status.UNAVAILABLE

        await until(unavailable)
        assert "the server is ending" in messages[-1]
        assert await client.health() == await client.health("text") == NOT_SERVING
        assert await client.http("/readyz") == (503, "the server is ending\n")
        assert (await in_progress).version == 1
        await stopping


async def test_traffic_ends_in_answers_and_plain_refusals(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    codes: list[Status] = []

    async def traffic(client: Client) -> None:
        while True:
            try:
                await client.classify("text", "x")
                codes.append(Status.OK)
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
                return

    async with running(tmp_path) as client, asyncio.TaskGroup() as group:
        for _ in range(32):
            group.create_task(traffic(client))
        await until(lambda: asyncio.sleep(0, len(codes) > 100))
        await client.server.stop()
    assert set(codes) == {Status.OK, Status.UNAVAILABLE}


async def test_a_health_watch_sees_the_end_and_does_not_delay_it(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, drain_seconds=PATIENT_SECONDS) as client:
        watch = client.watch_health()
        assert (await watch.read()).status == SERVING
        async with asyncio.timeout(PATIENT_SECONDS / 2):
            await client.server.stop()
        assert (await watch.read()).status == NOT_SERVING


async def test_what_takes_longer_than_the_drain_is_cut_off(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, batch_timeout_us=PATIENT_US, drain_seconds=0.2) as client:
        call = client.stub.Classify(ClassifyRequest(model="text", inputs=[Input(text="x")]))
        await client.versions("text")
        async with asyncio.timeout(PATIENT_SECONDS / 2):
            await client.server.stop()
        assert (await refused(call))[0] in (Status.UNAVAILABLE, Status.CANCELLED)
