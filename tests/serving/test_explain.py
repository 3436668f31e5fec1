"""Explanations by a real server and a real client: answers, refusals, and how they end.

What the maps hold is in runtime/test_explanation.py.
"""

import asyncio
import io
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import tensorflow as tf
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from PIL import Image
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    SignatureDefMap,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from protos.triptych.v1.classifier_pb2 import (
    ExplainRequest,
    ExplainResponse,
    Input,
)
from serving.runtime.explanation import METHODS, explain
from serving.runtime.servable import Servable
from tests.serving.server_fixtures import PATIENT_SECONDS, Client, Status, refused, running, until
from tests.serving.supervised import explainers, supervised
from tests.serving.supervised import until as until_blocking
from triptych import client
from triptych.client import Options, Source

pytestmark = pytest.mark.asyncio(loop_scope="module")

STARTING_SECONDS = 120.0  # for TensorFlow to be imported, last of all that the machine does
DOMAINS = ("image", "audio", "text")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def explaining(tiny, tmp_path_factory) -> AsyncIterator[Client]:
    """Of a server of four models, the last without the endpoint."""
    root = tmp_path_factory.mktemp("explaining")
    for domain in DOMAINS:
        tiny.publish(root, domain, explain=True)
    tiny.publish(root, "plain", domain="text")
    async with running(root, explain_max_bytes=50_000) as client:
        yield client


def asked(model: str, item: bytes | str, **options: object) -> ExplainRequest:
    given = Input(text=item) if isinstance(item, str) else Input(data=item)
    return ExplainRequest(model=model, input=given, **options)


def values_of(response: ExplainResponse) -> np.ndarray:
    return np.array(response.map.values, np.float32).reshape(response.map.shape)


# What is answered


@pytest.mark.parametrize("domain", DOMAINS)
async def test_the_answer_is_what_the_artefact_says(explaining, tiny, domain) -> None:
    item = tiny.item(domain, 3)
    servable = Servable.load(tiny.exported(domain, explain=True), "tensorflow")
    methods = [method for method in METHODS if method != "cam" or domain == "image"]
    for method in methods:
        wanted = explain(servable, item, method, 1)
        answer = await explaining.stub.Explain(asked(domain, item, method=method, class_id=1))
        assert (answer.model, answer.version, answer.method) == (domain, 1, method)
        assert (answer.label.class_id, answer.label.label) == (1, tiny.labels[domain][1])
        assert answer.label.score == pytest.approx(wanted.score, abs=1e-5)
        np.testing.assert_allclose(values_of(answer), wanted.values, atol=1e-5)
        assert list(answer.map.tokens) == list(wanted.tokens)
        assert Image.open(io.BytesIO(answer.png)).size == Image.open(io.BytesIO(wanted.png)).size
        timing = answer.timing
        parts = timing.queue_us, timing.preprocess_us, timing.gradients_us, timing.drawing_us
        assert min(parts) > 0
        assert sum(parts) == timing.total_us
    servable.close()


async def test_without_a_class_it_is_what_classify_says(explaining, tiny) -> None:
    item = tiny.item("image", 1)
    best = (await explaining.classify("image", item)).results[0].labels[0]
    answer = await explaining.stub.Explain(asked("image", item))
    assert (answer.label.label, answer.method) == (best.label, "grad-cam")
    assert answer.label.score == pytest.approx(best.score, abs=1e-5)
    named = await explaining.stub.Explain(asked("image", item, label="violet"))
    assert named.label.class_id == 5


async def test_it_is_counted_and_classifying_is_not(explaining, tiny) -> None:
    async def count(line: str) -> float:
        _, text = await explaining.http("/metrics")
        return sum(float(one.split()[1]) for one in text.splitlines() if one.startswith(line))

    ok = 'triptych_explanations_total{method="saliency",model="text",status="OK"}'
    calls = "triptych_requests_total"
    before = await count(ok), await count(calls)
    await explaining.stub.Explain(asked("text", "x", method="saliency"))
    assert (await count(ok), await count(calls)) == (before[0] + 1, before[1])
    await refused(explaining.stub.Explain(asked("text", "x", method="sal\niency")))
    assert await count('triptych_explanations_total{method="unknown",model="text"') == 1


# What is refused


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (asked("imgae", b"x"), Status.NOT_FOUND, ["Did you mean 'image'?"]),
        (asked("image", b"x", version=7), Status.NOT_FOUND, ["no version 7"]),
        (asked("image", b"x", version_label="no"), Status.NOT_FOUND, ["no version label 'no'"]),
        (
            asked("image", b"x", version=1, version_label="no"),
            Status.INVALID_ARGUMENT,
            ["leave one of them out"],
        ),
        (
            asked("plain", "x"),
            Status.FAILED_PRECONDITION,
            ["'plain' version 1 has no endpoint 'explain'", "triptych export --explain"],
        ),
        (asked("text", "x", method="lime"), Status.INVALID_ARGUMENT, ["'lime'", *METHODS]),
        (asked("text", "x", method="cam"), Status.INVALID_ARGUMENT, ["Ask for grad-cam"]),
        (
            asked("image", b"x", label="pink"),
            Status.INVALID_ARGUMENT,
            ["no class 'pink'", "red, orange, yellow, green, blue, violet"],
        ),
        (asked("image", b"x", class_id=6), Status.INVALID_ARGUMENT, ["class_id is 6", "0 to 5"]),
        (asked("image", b"x", class_id=-1), Status.INVALID_ARGUMENT, ["class_id is -1"]),
        (asked("image", b"x"), Status.INVALID_ARGUMENT, ["not a picture"]),
        (asked("text", b"\xff\xfe"), Status.INVALID_ARGUMENT, ["UTF-8"]),
        (ExplainRequest(model="text"), Status.INVALID_ARGUMENT, ["neither data nor text"]),
        (
            asked("text", "x" * 60_000),
            Status.INVALID_ARGUMENT,
            ["60,000 bytes", "50,000 are allowed", "TRIPTYCH_EXPLAIN_MAX_BYTES"],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Status) else "",
)
async def test_what_cannot_be_explained_says_why(explaining, request_, code, told) -> None:
    found, message = await refused(explaining.stub.Explain(request_))
    assert found is code
    for words in told:
        assert words in message


async def test_no_other_protocol_has_the_endpoint(explaining) -> None:
    """There it would compute with the threads of those who classify, and within no limits."""
    told = ["Classifier.Explain", "/v1/explain/image"]
    given = {"examples": np.zeros((1, 8, 8, 3), np.float32), "class_ids": np.array([0], np.int32)}
    predictions = PredictionServiceStub(explaining.channel)

    metadata = GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "image"
    listed = SignatureDefMap()
    answer = await predictions.GetModelMetadata(metadata)
    assert answer.metadata["signature_def"].Unpack(listed)
    assert sorted(listed.signature_def) == ["classify", "predict", "preprocess", "serving_default"]

    predict = PredictRequest()
    predict.model_spec.name, predict.model_spec.signature_name = "image", "explain"
    for name, value in given.items():
        predict.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    code, message = await refused(predictions.Predict(predict))
    assert (code, [word for word in told if word not in message]) == (Status.INVALID_ARGUMENT, [])

    inputs = []
    for name, value in given.items():
        inputs.append(triton.InferInput(name, value.shape, np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(value)
    async with triton_aio.InferenceServerClient(f"localhost:{explaining.grpc_port}") as client:
        for parameters in ({"endpoint": "explain"}, None):  # by its name, and by its inputs
            with pytest.raises(InferenceServerException) as error:
                await client.infer("image", inputs, parameters=parameters)
            assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
            assert [word for word in told if word not in error.value.message()] == []

    code, body = await explaining.http("/v1/models/image/metadata")
    assert (code, "class_ids" in body) == (200, False)


async def test_a_process_that_is_killed_fails_its_call_alone(explaining, tiny) -> None:
    await explaining.stub.Explain(asked("text", "x"))
    (pid,) = explainers()
    os.kill(pid, signal.SIGSTOP)
    call = explaining.stub.Explain(asked("text", "x"))
    assert (await explaining.classify("text", "x")).version == 1
    os.kill(pid, signal.SIGKILL)
    code, message = await refused(call)
    assert (code, "see the server's log" in message) == (Status.INTERNAL, True)
    assert (await explaining.stub.Explain(asked("text", "x"))).label.label in tiny.labels["text"]
    assert explainers() != [pid]


async def test_the_client_of_the_command_line(explaining, tiny) -> None:
    address = f"localhost:{explaining.grpc_port}"
    options = Options(model="text", timeout_seconds=STARTING_SECONDS)
    found = await client.explain(address, Source("x", "some text"), options, "saliency", "bad")
    assert (found.model, found.version, found.method, found.label) == ("text", 1, "saliency", "bad")
    assert (found.shape, "".join(found.tokens)) == ((9,), "some text")
    assert len(found.values) == 9
    assert found.png.startswith(b"\x89PNG")
    image = Source("x.png", tiny.item("image"))
    chosen = await client.explain(address, image, Options(timeout_seconds=STARTING_SECONDS))
    assert (chosen.model, chosen.method) == ("image", "grad-cam")
    with pytest.raises(client.NotExplained, match=r"no class 'ugly'.*It has good, bad"):
        await client.explain(address, Source("x", "some text"), options, label="ugly")


# By HTTP


async def http(client: Client, path: str, body: bytes, **headers: str) -> tuple[int, str, bytes]:
    def post() -> tuple[int, str, bytes]:
        request = urllib.request.Request(client.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=STARTING_SECONDS) as answer:
                return answer.status, answer.headers["content-type"], answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], error.read()

    return await asyncio.to_thread(post)


async def test_by_http_it_is_a_picture_or_json(explaining, tiny) -> None:
    item = tiny.item("image", 2)
    wanted = await explaining.stub.Explain(asked("image", item, label="green", method="cam"))
    path = "/v1/explain/image?method=cam&class=green"
    code, kind, body = await http(explaining, path, item, Accept="image/png")
    assert (code, kind, body) == (200, "image/png", wanted.png)
    code, kind, body = await http(explaining, path, item)
    answer = json.loads(body)
    assert (code, answer["label"]["label"], answer["shape"]) == (200, "green", [8, 8])
    np.testing.assert_allclose(answer["values"], values_of(wanted), atol=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("plain", b"x", 400, "triptych export --explain"),
        ("none", b"x", 404, "no model is named"),
        ("text?class=so-so", b"x", 400, "It has good, bad"),
        ("text?top_k=1", b"x", 400, "there are method, class, version"),
        ("text", b"", 400, "no input"),
    ],
)
async def test_by_http_refusals_are_the_same(explaining, path, body, code, words) -> None:
    kind = {"Content-Type": "application/octet-stream"}
    found, _, answer = await http(explaining, f"/v1/explain/{path}", body, **kind)
    assert (found, words in json.loads(answer)["error"]) == (code, True)


# Who waits, who leaves. A process that starts takes seconds, so what is asked meanwhile waits.


async def test_a_full_queue_a_deadline_and_a_caller_that_leaves(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", explain=True)
    request, before = asked("text", "x"), explainers()
    async with running(tmp_path, explain_queue_size=2) as client:
        first = client.stub.Explain(request)
        await until(lambda: asyncio.sleep(0, explainers() != before))
        second = client.stub.Explain(request)
        await client.versions("text")  # so that it has arrived
        code, message = await refused(client.stub.Explain(request))
        assert code is Status.RESOURCE_EXHAUSTED
        assert "2 explanations" in message
        assert "TRIPTYCH_EXPLAIN_QUEUE_SIZE" in message
        second.cancel()  # and leaves its place to another

        async def there_is_room() -> bool:
            code, _ = await refused(client.stub.Explain(request, timeout=0.05))
            return code is Status.DEADLINE_EXCEEDED

        await until(there_is_room)
        assert (await client.classify("text", "x")).version == 1
        assert (await first).version == 1


async def test_it_has_a_small_share_of_the_time_until_nobody_classifies(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", explain=True)
    async with running(tmp_path, explain_share=1e-5) as client:
        both = [client.stub.Explain(asked("text", "x")) for _ in range(2)]
        while not any(call.done() for call in both):
            await client.classify("text", "x")
        for _ in range(100):
            await client.classify("text", "x")
        assert sum(call.done() for call in both) == 1
        assert [(await call).version for call in both] == [1, 1]


async def test_the_servers_own_deadline(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", explain=True)
    before = explainers()
    async with running(tmp_path, explain_timeout_seconds=0.05) as client:
        code, message = await refused(client.stub.Explain(asked("text", "x")))
        assert code is Status.DEADLINE_EXCEEDED
        assert "TRIPTYCH_EXPLAIN_TIMEOUT_SECONDS" in message
    assert explainers() == before


# What changes meanwhile


async def test_a_version_stays_until_it_is_explained(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", 1, explain=True)
    before = explainers()
    async with running(tmp_path) as client:
        call = client.stub.Explain(asked("text", "x"))
        await until(lambda: asyncio.sleep(0, explainers() != before))
        (process,) = set(explainers()) - set(before)
        os.kill(process, signal.SIGSTOP)  # so that the other version is there first
        tiny.publish(tmp_path, "text", 2, seed=1, explain=True)
        swap = asyncio.create_task(client.server.rescan())
        await until(lambda: _is_newest(client, 2))
        assert not swap.done()  # it waits for the explanation
        os.kill(process, signal.SIGCONT)
        assert (await call).version == 1
        await swap
        assert (await client.stub.Explain(asked("text", "x"))).version == 2


async def _is_newest(client: Client, version: int) -> bool:
    return (await client.classify("text", "x")).version == version


async def test_a_version_that_was_changed_on_disk_is_not_explained(tiny, tmp_path) -> None:
    folder = tiny.publish(tmp_path, "text", explain=True)
    async with running(tmp_path) as client:
        (folder / "saved_model.pb").write_bytes(b"something else")
        code, message = await refused(client.stub.Explain(asked("text", "x")))
        assert (code, "cannot be read any more" in message) == (Status.UNAVAILABLE, True)


async def test_stopping_answers_what_is_in_progress(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", explain=True)
    before = explainers()
    async with running(tmp_path, drain_seconds=STARTING_SECONDS) as client:
        calls = [client.stub.Explain(asked("text", "x")) for _ in range(3)]
        await until(lambda: asyncio.sleep(0, explainers() != before))
        await client.versions("text")
        await client.server.stop()
        assert [(await call).version for call in calls] == [1] * 3
    assert explainers() == before


async def test_what_takes_longer_than_the_drain_is_cut_off(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", explain=True)
    before = explainers()
    async with running(tmp_path, drain_seconds=0.05) as client:
        calls = [client.stub.Explain(asked("text", "x")) for _ in range(3)]
        await until(lambda: asyncio.sleep(0, explainers() != before))
        await client.versions("text")
        async with asyncio.timeout(PATIENT_SECONDS):
            await client.server.stop()
        for call in calls:
            code, message = await refused(call)
            assert (code, "the server is ending" in message) == (Status.UNAVAILABLE, True)
    assert explainers() == before


def gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.full  # five processes, three of which load TensorFlow
async def test_each_worker_explains_and_leaves_nothing_behind(tiny, tmp_path) -> None:
    tiny.publish(tmp_path / "models", "text", explain=True)

    def run() -> None:
        with supervised(tmp_path / "models", tmp_path) as server, ExitStack() as stack:
            stub = server.connect(stack)
            answer = stub.Explain(asked("text", "x"), timeout=STARTING_SECONDS)
            assert answer.map.tokens == ["x"]
            (pid,) = (pid for worker in server.workers() for pid in explainers(worker))
            server.process.kill()  # at once, and its workers see it
            server.process.wait()
            until_blocking(gone([pid]))

    await asyncio.to_thread(run)
