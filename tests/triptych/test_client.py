"""The client against a remote end that is written here: order, sizes, domains, what goes wrong."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
from PIL import Image

from protos.triptych.v1 import classifier_pb2 as pb
from protos.triptych.v1 import classifier_pb2_grpc, manifest_pb2
from triptych import client
from triptych.client import Answer, NoModel, Options, ServerAbsent, Source, sources

IMAGE, AUDIO, TEXT = (
    manifest_pb2.DOMAIN_IMAGE,
    manifest_pb2.DOMAIN_AUDIO,
    manifest_pb2.DOMAIN_TEXT,
)
ALL = {"photos": (IMAGE, [2, 1]), "sounds": (AUDIO, [1]), "topics": (TEXT, [7])}


class Remote(classifier_pb2_grpc.ClassifierServicer):
    """Labels an input by what it holds; `hold(request)` may keep an answer back."""

    def __init__(self, models=ALL, hold: Callable | None = None):
        self.models = models
        self.hold = hold
        self.requests: list[pb.ClassifyRequest] = []

    async def ListModels(self, request, context):
        return pb.ListModelsResponse(
            models=[
                pb.ModelSummary(name=name, domain=domain, versions=versions)
                for name, (domain, versions) in self.models.items()
            ]
        )

    async def Classify(self, request, context):
        self.requests.append(request)
        if self.hold is not None:
            await self.hold(request)
        if request.model not in self.models:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such model; there is topics")
        if all(given.text.startswith("bad") for given in request.inputs):
            reason = f"input 0: {request.inputs[0].text} cannot be classified"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
        return pb.ClassifyResponse(
            model=request.model,
            version=self.models[request.model][1][0],
            results=[self.result(given) for given in request.inputs],
        )

    @staticmethod
    def result(given: pb.Input) -> pb.Result:
        if given.text.startswith("bad"):
            message = f"{given.text} cannot be classified"
            return pb.Result(error=pb.Error(code=3, message=message))
        label = given.text or f"{len(given.data)} bytes"
        return pb.Result(labels=[pb.Label(label=label, score=0.75)])


@asynccontextmanager
async def serving(remote: Remote | None, *options: tuple[str, int]) -> AsyncIterator[str]:
    server = grpc.aio.server(options=options)
    if remote is not None:
        classifier_pb2_grpc.add_ClassifierServicer_to_server(remote, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def ask(address: str, inputs, **options) -> list[Answer]:
    chosen = Options(**{"timeout_seconds": 20.0, **options})
    return [answer async for answer in client.classify(address, inputs, chosen)]


async def test_answers_keep_the_order_of_the_inputs() -> None:
    """The first request is answered last, which only works if the others are not behind it."""
    others_answered = asyncio.Event()
    later: set[str] = set()

    async def hold(request: pb.ClassifyRequest) -> None:
        first = request.inputs[0].text
        if first == "0":
            await others_answered.wait()
        else:
            later.add(first)
            if len(later) == 3:
                others_answered.set()

    texts = [str(i) for i in range(4 * client.CHUNK_INPUTS)]
    async with serving(Remote(hold=hold)) as address:
        answers = await ask(address, sources([], texts))
    assert [answer.name for answer in answers] == texts
    assert [answer.labels[0][0] for answer in answers] == texts
    assert {answer.error for answer in answers} == {None}


async def test_an_answer_is_given_before_the_last_input_is_read() -> None:
    unread = iter(range(1000))
    inputs = (Source(str(i), str(i)) for i in unread)
    async with serving(Remote()) as address:
        answers = client.classify(address, inputs, Options())
        first = await anext(answers)
        await answers.aclose()
    assert first.name == "0"
    assert next(unread) <= (client.IN_FLIGHT + 1) * client.CHUNK_INPUTS


async def test_requests_are_of_one_model_and_a_fair_size() -> None:
    megabytes = [Source(f"{i}.wav", bytes(2**20)) for i in range(9)]
    mixed = [Source("a", "a"), Source("b.png", b"b"), Source("c", "c"), Source("d", "d")]
    large = Source("large.wav", bytes(client.CHUNK_BYTES + 1))
    many = [Source(str(i), str(i)) for i in range(40)]
    remote = Remote()
    async with serving(remote, ("grpc.max_receive_message_length", -1)) as address:
        answers = await ask(address, [*megabytes, large, *mixed, *many])
    assert [a.name for a in answers] == [s.name for s in [*megabytes, large, *mixed, *many]]
    assert all(answer.error is None for answer in answers)
    sizes = sorted((r.model, len(r.inputs), r.ByteSize() >> 20) for r in remote.requests)
    assert sizes == [
        ("photos", 1, 0),
        *[("sounds", 1, 1), ("sounds", 1, 4), ("sounds", 4, 4), ("sounds", 4, 4)],
        *[("topics", n, 0) for n in (1, 10, 16, 16)],
    ]


async def test_each_input_goes_to_the_only_model_of_its_domain() -> None:
    inputs = [Source("p.jpg", b"1"), Source("s.flac", b"12"), Source("t.txt", b"123")]
    async with serving(Remote()) as address:
        answers = await ask(address, inputs)
    assert [(a.model, a.version) for a in answers] == [("photos", 2), ("sounds", 1), ("topics", 7)]


async def test_two_models_of_a_domain_are_named_and_none_is_guessed() -> None:
    models = {**ALL, "moods": (TEXT, [1])}
    async with serving(Remote(models)) as address:
        text, sound = await ask(address, [Source("t", "t"), Source("s.wav", b"s")])
        (chosen,) = await ask(address, [Source("t", "t")], model="moods")
    assert "--model" in text.error
    assert all(name in text.error for name in ("topics", "moods"))
    assert "sounds" not in text.error
    assert sound.error is None
    assert chosen.model == "moods"


async def test_a_model_without_a_ready_version_is_not_chosen() -> None:
    models = {"photos": (IMAGE, [1]), "topics": (TEXT, [])}
    async with serving(Remote(models)) as address:
        (answer,) = await ask(address, [Source("t", "t")])
    assert "no model for text" in answer.error
    assert "photos" in answer.error


def test_a_server_without_models() -> None:
    with pytest.raises(NoModel, match="none that is ready"):
        client.choose(IMAGE, {})


async def test_one_bad_input_takes_nothing_from_the_others() -> None:
    absent = Source("x.txt", None, "cannot be read")
    inputs = [Source("a", "a"), absent, Source("bad", "bad"), Source("c", "c")]
    async with serving(Remote()) as address:
        answers = await ask(address, inputs)
        alone = await ask(address, [Source("bad 1", "bad 1"), Source("bad 2", "bad 2")])
    bad = "bad cannot be classified"
    assert [answer.error for answer in answers] == [None, "cannot be read", bad, None]
    reasons = [f"bad {number} cannot be classified" for number in (1, 2)]
    assert [answer.error for answer in alone] == reasons


async def test_what_the_server_says_of_an_unknown_model_is_each_inputs_error() -> None:
    async with serving(Remote()) as address:
        answers = await ask(address, [Source("a", "a"), Source("b", "b")], model="no")
    assert [answer.error for answer in answers] == ["no such model; there is topics"] * 2


async def test_a_message_over_the_servers_limit_fails_only_its_own_input() -> None:
    inputs = [Source(f"{n}.txt", bytes(n)) for n in (900, 901, 5000, 902)]
    async with serving(Remote(), ("grpc.max_receive_message_length", 2000)) as address:
        answers = await ask(address, inputs)
    assert [a.error is None for a in answers] == [True, True, False, True]
    assert "too large" in answers[2].error
    assert "TRIPTYCH_MAX_REQUEST_BYTES" in answers[2].error


async def test_a_full_queue_is_not_called_too_large() -> None:
    class Full(Remote):
        async def Classify(self, request, context):
            self.requests.append(request)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")

    remote = Full()
    async with serving(remote) as address:
        answers = await ask(address, [Source("a", "a"), Source("b", "b")])
    assert [answer.error for answer in answers] == ["the queue is full"] * 2
    assert len(remote.requests) == 1


async def test_numbers_past_the_messages_range_are_not_an_error_of_the_client() -> None:
    remote = Remote()
    async with serving(remote) as address:
        (answer,) = await ask(address, [Source("a", "a")], top_k=10**12, version=10**30)
    assert answer.error is None
    assert remote.requests[0].top_k == 2**31 - 1
    assert remote.requests[0].version == 2**63 - 1


async def test_another_kind_of_server_is_said_to_be_one() -> None:
    async with serving(None) as address:
        with pytest.raises(ServerAbsent, match=address):
            await ask(address, [Source("a", "a")])


async def test_a_proxy_is_not_between_a_machine_and_itself(monkeypatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 1.0)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(Remote()) as address:
        (answer,) = await ask(address, [Source("a", "a")])
    assert answer.error is None


def test_a_proxy_is_left_to_other_machines() -> None:
    settings = dict(client.channel_options("models.example.com:8500"))
    assert "grpc.enable_http_proxy" not in settings


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, kind)
    return file.getvalue()


def sound(kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600), 16000, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_pictures_are_known_by_their_bytes(kind) -> None:
    assert client.domain_of(Source("-", picture(kind))) == IMAGE


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", None), ("FLAC", None), ("OGG", None), ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)],
)
def test_sounds_are_known_by_their_bytes(kind, subtype) -> None:
    assert client.domain_of(Source("-", sound(kind, subtype))) == AUDIO


@pytest.mark.parametrize("content", [b"Who wrote Hamlet?", "谁写了红楼梦?".encode(), b""])
def test_else_it_is_text(content) -> None:
    assert client.domain_of(Source("-", content)) == TEXT


def test_a_folder_is_its_files_of_known_kinds_sorted(tmp_path) -> None:
    names = ["b/2.PNG", "b/10.wav", "a.txt", "c.jpeg", ".hidden.png", ".git/x.png", "notes.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = list(sources([tmp_path], []))
    wanted = sorted(tmp_path / name for name in names[:4])
    assert [source.name for source in found] == [str(path) for path in wanted]
    assert [source.content for source in found] == [path.read_bytes() for path in wanted]


def test_a_file_that_is_named_is_taken_whatever_its_kind(tmp_path) -> None:
    path = tmp_path / ".hidden.dat"
    path.write_bytes(b"x")
    assert list(sources([path], [])) == [Source(str(path), b"x")]


def test_what_cannot_be_read_is_its_own_inputs_problem(tmp_path) -> None:
    huge, empty, good = tmp_path / "huge.wav", tmp_path / "empty", tmp_path / "good.txt"
    with huge.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: it takes no space
    empty.mkdir()
    good.write_text("good")
    found = list(sources([huge, empty, Path("word " * 99), tmp_path / "no", good], ["a\udcffb"]))
    assert [source.content for source in found] == [None, None, None, None, b"good", None]
    reasons = ["2 GiB", "holds no pictures", "too long", "No such file", None, "not UTF-8"]
    for source, reason in zip(found, reasons, strict=True):
        assert (source.problem is None) if reason is None else (reason in source.problem)


def test_names_of_any_bytes(tmp_path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))
    path.write_text("x")
    (found,) = sources([tmp_path], [])
    assert (Path(found.name), found.content) == (path, b"x")
