"""A whole server on loopback, by a real gRPC client, on SavedModels made by hand.

How it ends on a signal is in test_serve.py.
"""

import asyncio
import math
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.triptych.v1 import manifest_pb2
from protos.triptych.v1.classifier_pb2 import (
    ClassifyRequest,
    ClassifyResponse,
    GetModelRequest,
    Input,
    ListModelsRequest,
    VersionStatus,
)
from protos.triptych.v1.classifier_pb2_grpc import ClassifierStub
from serving.errors import RepositoryError
from serving.server import Server
from serving.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

Status = grpc.StatusCode
DOMAINS = ("image", "audio", "text")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "triptych.v1.Classifier"
NO_POLLING = 3600.0  # the tests call rescan()
PATIENT_SECONDS = 30.0


class Client:
    def __init__(self, server: Server, channel: grpc.aio.Channel, http_port: int) -> None:
        self.server = server
        self.channel = channel
        self.stub = ClassifierStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._http = f"http://localhost:{http_port}"

    async def classify(self, model: str, *items: bytes | str, **options: object):
        inputs = [Input(text=i) if isinstance(i, str) else Input(data=i) for i in items]
        request = ClassifyRequest(model=model, inputs=inputs, **options)
        return await self.stub.Classify(request)

    async def health(self, service: str = "") -> int:
        answer = await self._health.Check(health_pb2.HealthCheckRequest(service=service))
        return answer.status

    def watch_health(self) -> grpc.aio.UnaryStreamCall:
        return self._health.Watch(health_pb2.HealthCheckRequest())

    async def versions(self, model: str) -> dict[int, VersionStatus]:
        answer = await self.stub.GetModel(GetModelRequest(model=model))
        return {status.version: status for status in answer.versions}

    async def http(self, path: str) -> tuple[int, str]:
        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(self._http + path, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(get)


@asynccontextmanager
async def running(repository: Path, **options: object) -> AsyncIterator[Client]:
    defaults = {"grpc_port": 0, "http_port": 0, "poll_seconds": NO_POLLING}
    server = Server(Settings(repository=repository, **{**defaults, **options}))
    ready = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"localhost:{ready.grpc_port}") as channel:
            yield Client(server, channel, ready.http_port)
    finally:
        await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tiny, tmp_path_factory) -> AsyncIterator[Client]:
    """Of a server of three models, with small limits."""
    root = tmp_path_factory.mktemp("repository")
    for domain in DOMAINS:
        tiny.publish(root, domain)
    async with running(
        root, max_inputs_per_request=8, max_request_bytes=100_000, max_characters=1000
    ) as client:
        yield client


def scores_of(response: ClassifyResponse, index: int = 0) -> np.ndarray:
    """[K], in the order of class_id. All labels must have been asked for."""
    labels = sorted(response.results[index].labels, key=lambda label: label.class_id)
    return np.array([label.score for label in labels])


async def refused(call) -> tuple[Status, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """What is waited for happens in other threads."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# What is answered


@pytest.mark.parametrize("domain", DOMAINS)
async def test_scores_are_those_of_tensorflow(client, tiny, domain) -> None:
    items = [tiny.item(domain, seed) for seed in range(6)]
    response = await client.classify(domain, *items, top_k=100)
    assert (response.model, response.version) == (domain, 1)
    for i, item in enumerate(items):
        np.testing.assert_allclose(scores_of(response, i), tiny.scores(domain, item), atol=1e-5)
        labels = response.results[i].labels
        assert [label.label for label in labels] == [
            tiny.labels[domain][label.class_id] for label in labels
        ]
        assert [label.score for label in labels] == sorted(
            (label.score for label in labels), reverse=True
        )
        assert not response.results[i].HasField("error")
    timing = response.timing
    assert 0 < timing.predict_us < timing.total_us
    assert 0 < timing.preprocess_us < timing.total_us


async def test_text_may_come_as_text_or_as_bytes(client, tiny) -> None:
    text = "ça va? 你好"
    as_text = await client.classify("text", text)
    as_bytes = await client.classify("text", text.encode())
    np.testing.assert_array_equal(scores_of(as_text), scores_of(as_bytes))
    np.testing.assert_allclose(scores_of(as_text), tiny.scores("text", text), atol=1e-5)


async def test_top_k_and_min_score(client, tiny) -> None:
    item = tiny.item("image", 3)
    everything = (await client.classify("image", item, top_k=6)).results[0].labels
    five = (await client.classify("image", item)).results[0].labels
    assert list(five) == list(everything)[:5]
    two = (await client.classify("image", item, top_k=2)).results[0].labels
    assert list(two) == list(everything)[:2]
    third = everything[2].score
    good = (await client.classify("image", item, top_k=6, min_score=third)).results[0].labels
    assert list(good) == list(everything)[:3]
    none = await client.classify("image", item, min_score=1.0)
    assert not none.results[0].labels
    assert not none.results[0].HasField("error")


async def test_company_changes_no_score(client, tiny) -> None:
    """Many models, shapes and callers at once, batched as it comes."""
    requests = [(DOMAINS[i % 3], tiny.item(DOMAINS[i % 3], i)) for i in range(64)]
    alone = [scores_of(await client.classify(d, item, top_k=6)) for d, item in requests]
    together = await asyncio.gather(*(client.classify(d, item, top_k=6) for d, item in requests))
    for response, (domain, item), wanted in zip(together, requests, alone, strict=True):
        np.testing.assert_allclose(scores_of(response), wanted, atol=1e-5)
        np.testing.assert_allclose(scores_of(response), tiny.scores(domain, item), atol=1e-5)
    status, metrics = await client.http("/metrics")
    assert status == 200
    batches, inputs = (
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith(
            ('triptych_batch_size_count{model="i', 'triptych_batch_size_sum{model="i')
        )
    )
    assert batches < inputs


async def test_one_bad_input_of_many_takes_nothing_from_the_others(client, tiny) -> None:
    good = tiny.item("image", 1)
    response = await client.classify("image", good, b"not a picture", good, "a text", top_k=6)
    wanted = tiny.scores("image", good)
    np.testing.assert_allclose(scores_of(response, 0), wanted, atol=1e-5)
    np.testing.assert_allclose(scores_of(response, 2), wanted, atol=1e-5)
    for i, reason in ((1, "not a picture"), (3, "a text was sent")):
        assert response.results[i].error.code == Status.INVALID_ARGUMENT.value[0]
        assert reason in response.results[i].error.message
        assert not response.results[i].labels


async def test_list_models(client, tiny) -> None:
    answer = await client.stub.ListModels(ListModelsRequest())
    assert [(m.name, m.domain, list(m.versions), m.classes) for m in answer.models] == [
        ("audio", manifest_pb2.DOMAIN_AUDIO, [1], 3),
        ("image", manifest_pb2.DOMAIN_IMAGE, [1], 6),
        ("text", manifest_pb2.DOMAIN_TEXT, [1], 2),
    ]


async def test_get_model(client, tiny) -> None:
    answer = await client.stub.GetModel(GetModelRequest(model="image", version=1))
    assert answer.name == "image"
    assert list(answer.manifest.labels) == tiny.labels["image"]
    assert answer.manifest.input.image.height == 8
    (version,) = answer.versions
    assert (version.version, version.state) == (1, VersionStatus.READY)
    assert (version.reason, version.executor) == ("", "openvino")


async def test_the_other_executor(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, executor="tensorflow") as client:
        assert (await client.versions("text"))[1].executor == "tensorflow"
        item = tiny.item("text", 7)
        response = await client.classify("text", item)
        np.testing.assert_allclose(scores_of(response), tiny.scores("text", item), atol=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (
            ClassifyRequest(model="imgae", inputs=[Input(text="x")]),
            Status.NOT_FOUND,
            ["'imgae'", "Did you mean 'image'?", "audio, image, text"],
        ),
        (
            ClassifyRequest(model="image", version=7, inputs=[Input(text="x")]),
            Status.NOT_FOUND,
            ["'image' has no version 7", "It has 1"],
        ),
        (
            ClassifyRequest(inputs=[Input(text="x")]),
            Status.NOT_FOUND,
            ["audio, image, text"],
        ),
        (ClassifyRequest(model="text"), Status.INVALID_ARGUMENT, ["no inputs"]),
        (
            ClassifyRequest(model="text", inputs=[Input(text="x")] * 9),
            Status.INVALID_ARGUMENT,
            ["9 inputs", "8 are allowed", "TRIPTYCH_MAX_INPUTS_PER_REQUEST"],
        ),
        (
            ClassifyRequest(model="text", inputs=[Input(text="x")], top_k=0),
            Status.INVALID_ARGUMENT,
            ["top_k is 0"],
        ),
        (
            ClassifyRequest(model="text", inputs=[Input(text="x")], top_k=-3),
            Status.INVALID_ARGUMENT,
            ["top_k is -3"],
        ),
        *(
            (
                ClassifyRequest(model="text", inputs=[Input(text="x")], min_score=score),
                Status.INVALID_ARGUMENT,
                ["min_score"],
            )
            for score in (-0.1, 1.5, math.nan)
        ),
        (
            ClassifyRequest(model="text", inputs=[Input()]),
            Status.INVALID_ARGUMENT,
            ["input 0: ", "neither data nor text"],
        ),
        (
            ClassifyRequest(model="image", inputs=[Input(data=b"not a picture")]),
            Status.INVALID_ARGUMENT,
            ["input 0: not a picture", "send JPEG"],
        ),
        (
            ClassifyRequest(model="audio", inputs=[Input(text="x"), Input(data=b"?")]),
            Status.INVALID_ARGUMENT,
            ["input 0: ", "takes audio", "(1 more of 2 inputs failed)"],
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
    ids=lambda value: value.name if isinstance(value, Status) else "",
)
async def test_what_cannot_be_answered_says_why(client, request_, code, told) -> None:
    found, message = await refused(client.stub.Classify(request_))
    assert found is code
    for words in told:
        assert words in message


async def test_get_model_of_what_is_not_there(client) -> None:
    code, message = await refused(client.stub.GetModel(GetModelRequest(model="none")))
    assert (code, "audio, image, text" in message) == (Status.NOT_FOUND, True)
    code, message = await refused(client.stub.GetModel(GetModelRequest(model="text", version=2)))
    assert (code, "It has 1" in message) == (Status.NOT_FOUND, True)


async def test_a_caller_who_leaves_leaves_room(tiny, tmp_path) -> None:
    """DEADLINE_EXCEEDED, and then neither the queue nor the version is held any more."""
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, max_queue_size=2, batch_timeout_seconds=PATIENT_SECONDS) as client:
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


async def test_a_mistake_of_ours_is_not_told(tiny, tmp_path) -> None:
    """A network that fails on short sounds: the caller gets a number, and others their answer."""
    tiny.publish(tmp_path, "audio")
    async with running(tmp_path, executor="tensorflow") as client:
        code, message = await refused(client.classify("audio", tiny.short_sound()))
        assert code is Status.INTERNAL
        assert message.startswith("input 0: internal error, see the server's log (id ")
        response = await client.classify("audio", tiny.short_sound(), tiny.item("audio"))
        assert response.results[0].error.code == Status.INTERNAL.value[0]
        assert response.results[1].labels


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
    async with running(tmp_path, batch_timeout_seconds=0.5) as client:
        request = ClassifyRequest(model="text", inputs=[Input(text="x")])
        calls = [client.stub.Classify(request) for _ in range(8)]
        await client.versions("text")  # so that they have arrived
        await client.server.stop()
        assert [(await call).version for call in calls] == [1] * 8
        code, _ = await refused(client.stub.Classify(request))
        assert code is Status.UNAVAILABLE


async def test_while_it_ends_new_calls_are_told_so(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, batch_timeout_seconds=1.0) as client:
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
    async with running(
        tmp_path, batch_timeout_seconds=PATIENT_SECONDS, drain_seconds=0.2
    ) as client:
        call = client.stub.Classify(ClassifyRequest(model="text", inputs=[Input(text="x")]))
        await client.versions("text")
        async with asyncio.timeout(PATIENT_SECONDS / 2):
            await client.server.stop()
        assert (await refused(call))[0] in (Status.UNAVAILABLE, Status.CANCELLED)
