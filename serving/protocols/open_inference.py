"""inference.GRPCInferenceService: the Open Inference Protocol, with Triton's extensions, by gRPC.

Messages <-> what `open_inference_call` takes. There is no shared memory, tracing or setting of
logs: who asks for their state is told that there is none.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from serving.engine import Engine, internal_error
from serving.errors import TriptychError
from serving.manager import Handle, Manager
from serving.observability import Metrics
from serving.protocols import open_inference_state as state
from serving.protocols.open_inference_call import (
    Caller,
    Result,
    Unsupported,
    code_of,
)
from serving.protocols.open_inference_config import metadata, model_config
from serving.protocols.open_inference_request import InferRequest, Reader
from serving.protocols.open_inference_response import response, streamed
from serving.protocols.status import details
from serving.protocols.streams import answered
from serving.protocols.unregistered import Unregistered
from serving.settings import Settings
from serving.watcher import Watcher

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
STREAM_ERRORS_END_IT = "triton_grpc_error"  # a client's header: "true" makes them statuses

Context = grpc.aio.ServicerContext[Any, Any]


class InferenceService(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(
        self,
        *,
        engine: Engine,
        manager: Manager,
        watcher: Watcher,
        metrics: Metrics,
        settings: Settings,
        why_not_ready: Callable[[], str | None],
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._watcher = watcher
        self._metrics = metrics
        self._why_not_ready = why_not_ready
        self._max_request_bytes = settings.max_request_bytes
        self._caller = Caller(engine, manager, settings, why_not_ready)
        self.reader = Reader()

    async def ServerLive(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            self._caller.require_staying()
            return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            self._caller.require_staying()
            return service_pb2.ServerReadyResponse(ready=self._why_not_ready() is None)

    async def ServerMetadata(self, request: Any, context: Context) -> Any:
        return service_pb2.ServerMetadataResponse(**server_metadata())

    async def ModelReady(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            with self._caller.acquire(request.name, request.version):
                return service_pb2.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            with self._caller.acquire(request.name, request.version) as handle:
                told = metadata_of(handle, self._manager)
                return service_pb2.ModelMetadataResponse(**told)

    async def ModelConfig(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            with self._caller.acquire(request.name, request.version) as handle:
                config = config_of(handle, self._caller.max_rows)
                return service_pb2.ModelConfigResponse(
                    config=model_config_pb2.ModelConfig(**config)
                )

    async def ModelStatistics(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            told = statistics_of(
                self._caller, self._engine, self._manager, request.name, request.version
            )
            return service_pb2.ModelStatisticsResponse(model_stats=told)

    async def ModelInfer(self, request: InferRequest, context: Context) -> bytes:
        answer = await self._infer(request)
        if isinstance(answer, TriptychError):
            await context.abort(code_of(answer), details(str(answer)))
        written, result = answer
        context.set_trailing_metadata(result.account.metadata())
        return written

    async def ModelStreamInfer(
        self, requests: AsyncIterator[InferRequest], context: Context
    ) -> AsyncIterator[bytes]:
        """Requests without an id, which only their order tells apart, are answered in that."""

        async def answer(request: InferRequest) -> tuple[str, tuple[bytes, Result] | TriptychError]:
            return request.id, await self._infer(request)

        ends = (STREAM_ERRORS_END_IT, "true") in (context.invocation_metadata() or ())
        async with aclosing(
            answered(
                requests,
                answer,
                most_bytes=self._max_request_bytes,
                in_order=lambda request: not request.id,
            )
        ) as answers:
            async for request_id, given in answers:
                if not isinstance(given, TriptychError):
                    yield streamed(given[0])
                elif ends:
                    await context.abort(code_of(given), details(str(given)))
                else:
                    refusal = service_pb2.ModelStreamInferResponse(error_message=str(given))
                    refusal.infer_response.id = request_id
                    yield refusal.SerializeToString()

    async def RepositoryIndex(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            _require_no_repository(request)
            found = state.index(self._watcher, only_ready=request.ready)
            return service_pb2.RepositoryIndexResponse(models=found)

    async def RepositoryModelLoad(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            _require_no_repository(request)
            await state.load(self._watcher, request.model_name, request.parameters)
            return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:
        async with _aborting(context):
            _require_no_repository(request)
            await state.unload(self._watcher, request.model_name)
            return service_pb2.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        return service_pb2.SystemSharedMemoryStatusResponse()

    async def SystemSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        await _refuse(context, "system shared memory is not supported: send tensors as raw bytes")

    async def SystemSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        return service_pb2.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        await _refuse(context, "CUDA shared memory is not supported: send tensors as raw bytes")

    async def CudaSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        return service_pb2.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(self, request: Any, context: Context) -> Any:
        if request.settings:
            await _refuse(context, "the server does not support trace")
        return service_pb2.TraceSettingResponse()

    async def LogSettings(self, request: Any, context: Context) -> Any:
        if request.settings:
            await _refuse(context, "log settings are those of TRIPTYCH_LOG_LEVEL at start")
        return service_pb2.LogSettingsResponse()

    async def _infer(self, request: InferRequest) -> tuple[bytes, Result] | TriptychError:
        began = time.perf_counter()
        status = grpc.StatusCode.CANCELLED  # by the caller, unless another one follows
        try:
            with self._caller.acquire(request.model, request.version) as handle:
                asked, data = self.reader.understand(request)
                result = await self._caller.infer(handle, request.id, asked, data)
                written = response(handle.name, request.id, result)
            status = grpc.StatusCode.OK
            return written, result
        except Exception as error:
            refusal = error if isinstance(error, TriptychError) else internal_error(error)
            status = code_of(refusal)
            return refusal
        finally:
            self._metrics.request(request.model, "oip", status.name, time.perf_counter() - began)


def add_to_server(service: InferenceService, server: Unregistered) -> None:
    """As the generated function, whose own handlers would copy each tensor as they parse it."""
    read, written = service.reader.read, bytes
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(service.ModelInfer, read, written),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            service.ModelStreamInfer, read, written
        ),
    }
    own = grpc.method_handlers_generic_handler(SERVICE, handlers)
    server.add_generic_rpc_handlers((own,))  # the earlier one is asked
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)


def server_metadata() -> dict[str, Any]:
    return {"name": "triptych", "version": version("triptych"), "extensions": EXTENSIONS}


def metadata_of(handle: Handle, manager: Manager) -> dict[str, Any]:
    versions = state.ready_versions(manager, handle.name)
    return metadata(handle.name, versions, handle.loaded.servable)


def config_of(handle: Handle, max_rows: int) -> dict[str, Any]:
    loaded = handle.loaded
    return model_config(handle.name, loaded.servable, loaded.batcher.batching, max_rows)


def statistics_of(
    caller: Caller, engine: Engine, manager: Manager, model: str, model_version: str
) -> list[dict[str, Any]]:
    """Raises: as `Caller.acquire`, if a model is named."""
    if not model:
        return state.statistics(engine, manager, "", None)
    with caller.acquire(model, model_version) as handle:
        number = handle.version if model_version else None
        return state.statistics(engine, manager, handle.name, number)


def _require_no_repository(request: Any) -> None:
    if request.repository_name:
        raise Unsupported("'repository_name' specification is not supported")


async def _refuse(context: Context, text: str) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)


@asynccontextmanager
async def _aborting(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        refusal = error if isinstance(error, TriptychError) else internal_error(error)
        await context.abort(code_of(refusal), details(str(refusal)))
