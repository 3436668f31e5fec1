"""A whole server on loopback, and a client of it: for tests of any of its protocols."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.triptych.v1.classifier_pb2 import (
    ClassifyRequest,
    ClassifyResponse,
    GetModelRequest,
    Input,
    VersionStatus,
)
from protos.triptych.v1.classifier_pb2_grpc import ClassifierStub
from serving.server import Server
from serving.settings import Settings

Status = grpc.StatusCode
DOMAINS = ("image", "audio", "text")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "triptych.v1.Classifier"
NO_POLLING = 3600.0  # the tests call rescan()
PATIENT_SECONDS = 30.0
PATIENT_US = int(PATIENT_SECONDS * 1e6)
# Of the same outcome on each machine: nothing is measured, and nothing kept.
DEFAULTS = {
    "grpc_port": 0,
    "http_port": 0,
    "poll_seconds": NO_POLLING,
    "executor": "openvino",
    "measure_seconds": 0,
    "explain_nice": 0,  # it would stand still while other tests run
    "prepare_nice": 0,
    "cache": None,
}


class Client:
    def __init__(
        self, server: Server, channel: grpc.aio.Channel, grpc_port: int, http_port: int
    ) -> None:
        self.server = server
        self.channel = channel
        self.stub = ClassifierStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self.grpc_port = grpc_port
        self.http_port = http_port
        self.url = f"http://localhost:{http_port}"

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
                with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(get)


@asynccontextmanager
async def running(repository: Path, **options: object) -> AsyncIterator[Client]:
    """A server with these settings, and a client of it."""
    server = Server(Settings(repository=repository, **{**DEFAULTS, **options}))
    ready = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"localhost:{ready.grpc_port}") as channel:
            yield Client(server, channel, ready.grpc_port, ready.http_port)
    finally:
        await server.stop()


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
