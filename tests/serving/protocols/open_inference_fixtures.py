"""A server on loopback with tritonclient's own clients of it, and what they are asked to send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from serving.server import Server
from serving.settings import Settings
from tests.serving.server_fixtures import DEFAULTS

STATUS = {f"StatusCode.{code.name}": code for code in grpc.StatusCode}


class Oip(NamedTuple):
    server: Server
    client: triton_aio.InferenceServerClient
    stub: service_pb2_grpc.GRPCInferenceServiceStub
    grpc_port: int
    http_port: int

    @property
    def target(self) -> str:
        return f"localhost:{self.grpc_port}"


@asynccontextmanager
async def oip_running(repository: Path, **options: object) -> AsyncIterator[Oip]:
    server = Server(Settings(repository=repository, **{**DEFAULTS, **options}))
    ready = await server.start()
    target = f"localhost:{ready.grpc_port}"
    try:
        async with (
            triton_aio.InferenceServerClient(target) as client,
            grpc.aio.insecure_channel(target) as channel,
        ):
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            yield Oip(server, client, stub, ready.grpc_port, ready.http_port)
    finally:
        await server.stop()


def tensor(name: str, value: np.ndarray) -> triton.InferInput:
    given = triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    given.set_data_from_numpy(value)
    return given


def encoded(*items: bytes | str) -> triton.InferInput:
    strings = [item.encode() if isinstance(item, str) else item for item in items]
    return tensor("inputs", np.array([*strings, None], object)[:-1])


def request(model: str = "image", **fields: Any) -> service_pb2.ModelInferRequest:
    return service_pb2.ModelInferRequest(model_name=model, **fields)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).random(shape, np.float32)


async def denied(call: Any) -> tuple[grpc.StatusCode, str]:
    """What tritonclient says of a refusal."""
    with pytest.raises(InferenceServerException) as caught:
        await call
    return STATUS[caught.value.status()], caught.value.message()
