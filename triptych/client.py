"""Talks to a server: inputs in the order they were given, many at once, answers in that order."""

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc, manifest_pb2

CHUNK_INPUTS = 16
CHUNK_BYTES = 4 * 2**20
IN_FLIGHT = 8  # chunks
CONNECT_SECONDS = 5.0
MAX_TOP_K = 2**31 - 1  # of the message; more than any model has classes, and then all are meant
MAX_VERSION = 2**63 - 1
MAX_INPUT_BYTES = 2**31 - 2**20  # the rest of a message is small
TOO_LARGE = "too large: a gRPC message holds less than 2 GiB"
IMAGES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
SOUNDS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"}
TEXTS = {".txt"}
IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


class ServerAbsent(Exception):
    """Nobody answers at that address, or not as a triptych server does."""


class NoModel(Exception):
    """No model, or more than one, fits an input's domain."""


class NotExplained(Exception):
    """The server's reason: what it cannot read, which methods and classes there are, and so on."""


class Source(NamedTuple):
    """One thing to classify. Without content, `problem` says why it can't be read."""

    name: str
    content: bytes | str | None
    problem: str | None = None


@dataclass(frozen=True)
class Answer:
    name: str
    model: str | None
    version: int | None
    labels: list[tuple[str, float]] = field(default_factory=list)  # best first
    error: str | None = None
    milliseconds: float | None = None  # of the call that it was in, on the server

    def as_json(self) -> dict[str, Any]:
        return {
            "input": self.name,
            "model": self.model,
            "version": self.version,
            "labels": [{"label": label, "score": score} for label, score in self.labels],
            "error": self.error,
        }


@dataclass(frozen=True)
class Options:
    model: str | None = None
    version: int | None = None
    top_k: int = 5
    min_score: float = 0.0
    timeout_seconds: float = 30.0


def sources(files: Iterable[Path], texts: Iterable[str]) -> Iterator[Source]:
    """Files as given, folders as their files of known kinds, `-` as standard input, then texts."""
    for given in files:
        if str(given) == "-":
            content = sys.stdin.buffer.read()
            fits = len(content) <= MAX_INPUT_BYTES
            yield Source("-", content) if fits else Source("-", None, TOO_LARGE)
        elif os.path.isdir(given):  # unlike Path.is_dir, False for a name that cannot be one
            found = [p for p in sorted(given.rglob("*")) if _wanted(p, given)]
            if not found:
                yield Source(str(given), None, "the folder holds no pictures, sounds or .txt files")
            yield from map(_read, found)
        else:
            yield _read(given)
    for text in texts:
        # Bytes of an argument that are no UTF-8 become surrogates, which no message can hold.
        valid = not any("\ud800" <= character <= "\udfff" for character in text)
        yield Source(text, text) if valid else Source(text, None, "the text is not UTF-8")


def _wanted(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.suffix.lower() in IMAGES | SOUNDS | TEXTS and path.is_file()


def _read(path: Path) -> Source:
    try:
        if path.stat().st_size > MAX_INPUT_BYTES:
            return Source(str(path), None, TOO_LARGE)
        return Source(str(path), path.read_bytes())
    except OSError as error:
        return Source(str(path), None, f"cannot be read: {error.strerror}")


def domain_of(source: Source) -> int:
    """Which kind of model the input is for: by its name, else by its first bytes."""
    suffix = Path(source.name).suffix.lower()
    content = source.content
    if isinstance(content, str) or suffix in TEXTS:
        return manifest_pb2.DOMAIN_TEXT
    if suffix in IMAGES:
        return manifest_pb2.DOMAIN_IMAGE
    if suffix in SOUNDS:
        return manifest_pb2.DOMAIN_AUDIO
    start = (content or b"")[:512]
    bitmap = start[:2] == b"BM" and start[6:10] == bytes(4)  # sentences begin with BM too
    if bitmap or start.startswith(IMAGE_STARTS) or (start[:4], start[8:12]) == (b"RIFF", b"WEBP"):
        return manifest_pb2.DOMAIN_IMAGE
    if start.startswith((b"fLaC", b"OggS", b"\xff")) or b"\0" in start:
        return manifest_pb2.DOMAIN_AUDIO  # of the others' headers, each has a zero
    return manifest_pb2.DOMAIN_TEXT


def channel_options(address: str) -> list[tuple[str, int]]:
    """No limits of the client's own, and no proxy between a machine and itself."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    host = address.rpartition(":")[0]
    if host in ("localhost", "[::1]") or host.startswith("127."):
        # gRPC would send even these through the proxy that http_proxy names.
        options.append(("grpc.enable_http_proxy", 0))
    return options


async def connect(channel: grpc.aio.Channel, address: str) -> classifier_pb2_grpc.ClassifierStub:
    """Raises ServerAbsent if nobody listens there: at once if the connection is refused."""
    ready, failed = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            while (state := channel.get_state(try_to_connect=True)) not in (ready, failed):
                await channel.wait_for_state_change(state)
    except TimeoutError:
        state = failed
    if state is failed:
        raise ServerAbsent(
            f"no server at {address}: start one with `triptych serve --repository REPO`, or give"
            " another --server"
        )
    return classifier_pb2_grpc.ClassifierStub(channel)


async def classify(
    address: str, inputs: Iterable[Source], options: Options
) -> AsyncIterator[Answer]:
    """An answer for each input, in their order, each as soon as those before it are there.

    Raises: ServerAbsent. All else that goes wrong is its input's answer.
    """
    async with grpc.aio.insecure_channel(address, options=channel_options(address)) as channel:
        stub = await connect(channel, address)
        models = {} if options.model else await _models_by_domain(stub, address, options)
        waiting: deque[asyncio.Task[list[Answer]]] = deque()
        try:
            for model, chunk in _chunks(inputs, models, options):
                waiting.append(asyncio.create_task(_send(stub, model, chunk, options)))
                await asyncio.sleep(0)  # let it go out before the next file is read
                if len(waiting) >= IN_FLIGHT:
                    for answer in await waiting.popleft():
                        yield answer
            while waiting:
                for answer in await waiting.popleft():
                    yield answer
        finally:
            for task in waiting:
                task.cancel()


@dataclass(frozen=True)
class Explanation:
    """What a server says of one input. values: row by row, of that shape; tokens: of a text."""

    model: str
    version: int
    method: str
    label: str
    score: float
    shape: tuple[int, ...]
    values: Sequence[float]
    tokens: Sequence[str]
    png: bytes
    milliseconds: float  # on the server


async def explain(
    address: str, source: Source, options: Options, method: str = "", label: str | None = None
) -> Explanation:
    """One input, which can be read, and what in it speaks for a class: for the best one by default.

    Args:   options: its model, version and timeout_seconds; method: empty is the server's default.
    Raises: ServerAbsent; NoModel; NotExplained, with the server's reason.
    """
    async with grpc.aio.insecure_channel(address, options=channel_options(address)) as channel:
        stub = await connect(channel, address)
        model = options.model
        if model is None:
            model = choose(domain_of(source), await _models_by_domain(stub, address, options))
        content = source.content
        given = {"text": content} if isinstance(content, str) else {"data": content}
        request = classifier_pb2.ExplainRequest(
            model=model,
            version=None if options.version is None else min(options.version, MAX_VERSION),
            input=classifier_pb2.Input(**given),
            method=method,
            label=label,
        )
        try:
            answer = await stub.Explain(request, timeout=options.timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise NotExplained(error.details() or error.code().name) from None
    return Explanation(
        answer.model,
        answer.version,
        answer.method,
        answer.label.label,
        answer.label.score,
        tuple(answer.map.shape),
        answer.map.values,
        answer.map.tokens,
        answer.png,
        answer.timing.total_us / 1000,
    )


async def _models_by_domain(
    stub: classifier_pb2_grpc.ClassifierStub, address: str, options: Options
) -> dict[int, list[str]]:
    request = classifier_pb2.ListModelsRequest()
    try:
        listed = await stub.ListModels(request, timeout=options.timeout_seconds)
    except grpc.aio.AioRpcError as error:
        reason = error.details() or error.code().name
        raise ServerAbsent(
            f"what answers at {address} does not list its models as a triptych server does:"
            f" {reason}"
        ) from None
    by_domain: dict[int, list[str]] = {}
    for model in listed.models:
        if model.versions:
            by_domain.setdefault(model.domain, []).append(model.name)
    return by_domain


def choose(domain: int, models: Mapping[int, list[str]]) -> str:
    """The only model of the domain.  Raises NoModel."""
    kind = manifest_pb2.Domain.Name(domain).removeprefix("DOMAIN_").lower()
    names = models.get(domain, [])
    if len(names) == 1:
        return names[0]
    if names:
        raise NoModel(f"{len(names)} models take {kind}: choose by --model: {', '.join(names)}")
    have = ", ".join(name for group in models.values() for name in group)
    raise NoModel(f"the server has no model for {kind}; it has {have or 'none that is ready'}")


def _chunks(
    inputs: Iterable[Source], models: Mapping[int, list[str]], options: Options
) -> Iterator[tuple[str | None, list[Source]]]:
    """Neighbours that go to one model, in requests of a fair size. No model: nothing to send."""
    chunk: list[Source] = []
    current: str | None = None
    size = 0
    for source in inputs:
        model: str | None = None
        if source.content is not None:
            try:
                model = options.model or choose(domain_of(source), models)
            except NoModel as error:
                source = Source(source.name, None, str(error))
        length = len(source.content or "")
        full = len(chunk) >= CHUNK_INPUTS or size + length > CHUNK_BYTES
        if chunk and (full or model != current):
            yield current, chunk
            chunk, size = [], 0
        chunk.append(source)
        current, size = model, size + length
    if chunk:
        yield current, chunk


async def _send(
    stub: classifier_pb2_grpc.ClassifierStub,
    model: str | None,
    chunk: list[Source],
    options: Options,
) -> list[Answer]:
    if model is None:
        return [Answer(source.name, None, None, error=source.problem) for source in chunk]
    request = classifier_pb2.ClassifyRequest(
        model=model,
        version=None if options.version is None else min(options.version, MAX_VERSION),
        top_k=min(options.top_k, MAX_TOP_K),
        min_score=options.min_score,
    )
    for source in chunk:
        if isinstance(source.content, str):
            request.inputs.add(text=source.content)
        else:
            request.inputs.add(data=source.content)
    try:
        response = await stub.Classify(request, timeout=options.timeout_seconds)
    except grpc.aio.AioRpcError as error:
        reason = (error.details() or error.code().name).removeprefix("input 0: ")
        too_large = "larger than max" in reason  # gRPC's words; a full queue has the same status
        if len(chunk) > 1 and (too_large or error.code() is grpc.StatusCode.INVALID_ARGUMENT):
            # Not one could be classified, or all are too large together: alone, each has its say.
            return [a for source in chunk for a in await _send(stub, model, [source], options)]
        if too_large:
            reason = f"too large for this server (TRIPTYCH_MAX_REQUEST_BYTES there): {reason}"
        return [Answer(source.name, model, options.version, error=reason) for source in chunk]
    return [
        Answer(
            source.name,
            response.model,
            response.version,
            [(label.label, label.score) for label in result.labels],
            result.error.message if result.HasField("error") else None,
            response.timing.total_us / 1000,
        )
        for source, result in zip(chunk, response.results, strict=True)
    ]
