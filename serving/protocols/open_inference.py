"""inference.GRPCInferenceService: the Open Inference Protocol, with Triton's extensions, by gRPC.

Messages <-> what `open_inference_call` takes. There is no shared memory, tracing or setting of
logs: who asks for their state is told that there is none.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version
from typing import Any, NamedTuple, Self

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from serving.engine import Engine, internal_error
from serving.errors import InvalidInput, TriptychError
from serving.manager import Handle, Manager
from serving.observability import Metrics
from serving.protocols import open_inference_state as state
from serving.protocols.open_inference_call import (
    Caller,
    Result,
    Unsupported,
    Wanted,
    code_of,
    options_of,
)
from serving.protocols.open_inference_config import metadata, model_config
from serving.protocols.open_inference_tensors import Given, datatype_of, quoted, raw, typed
from serving.protocols.status import details
from serving.protocols.streams import answered
from serving.protocols.unregistered import Unregistered
from serving.protocols.wire import LARGE_BYTES, lift
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
RAW_INPUT_CONTENTS = service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER

Context = grpc.aio.ServicerContext[Any, Any]


class InferRequest(NamedTuple):
    """contents: raw_input_contents, of a large message where it came."""

    message: Any
    contents: Sequence[bytes | memoryview]
    size: int

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises: DecodeError if it is no ModelInferRequest."""
        if len(data) < LARGE_BYTES:
            message = service_pb2.ModelInferRequest.FromString(data)
            return cls(message, message.raw_input_contents, len(data))
        rest, contents = lift(data, (RAW_INPUT_CONTENTS,))
        message = service_pb2.ModelInferRequest.FromString(rest)
        return cls(message, contents or message.raw_input_contents, len(data))

    def ByteSize(self) -> int:
        return self.size


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

    async def ModelInfer(self, request: InferRequest, context: Context) -> Any:
        answer = await self._infer(request)
        if isinstance(answer, TriptychError):
            await context.abort(code_of(answer), details(str(answer)))
        response, result = answer
        context.set_trailing_metadata(result.account.metadata())
        return response

    async def ModelStreamInfer(
        self, requests: AsyncIterator[InferRequest], context: Context
    ) -> AsyncIterator[Any]:
        """Requests without an id, which only their order tells apart, are answered in that."""

        async def answer(request: InferRequest) -> tuple[str, tuple[Any, Result] | TriptychError]:
            return request.message.id, await self._infer(request)

        ends = (STREAM_ERRORS_END_IT, "true") in (context.invocation_metadata() or ())
        async with aclosing(
            answered(
                requests,
                answer,
                most_bytes=self._max_request_bytes,
                in_order=lambda request: not request.message.id,
            )
        ) as answers:
            async for request_id, given in answers:
                if not isinstance(given, TriptychError):
                    response = service_pb2.ModelStreamInferResponse(infer_response=given[0])
                elif ends:
                    await context.abort(code_of(given), details(str(given)))
                else:
                    response = service_pb2.ModelStreamInferResponse(error_message=str(given))
                    response.infer_response.id = request_id
                yield response

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

    async def _infer(self, given: InferRequest) -> tuple[Any, Result] | TriptychError:
        began = time.perf_counter()
        request = given.message
        status = grpc.StatusCode.CANCELLED  # by the caller, unless another one follows
        try:
            with self._caller.acquire(request.model_name, request.model_version) as handle:
                result = await self._caller.infer(
                    handle,
                    request.id,
                    options_of(_values(request.parameters)),
                    _inputs(request, given.contents),
                    [_wanted(output) for output in request.outputs],
                )
                response = _response(handle.name, request.id, result)
            status = grpc.StatusCode.OK
            return response, result
        except Exception as error:
            refusal = error if isinstance(error, TriptychError) else internal_error(error)
            status = code_of(refusal)
            return refusal
        finally:
            self._metrics.request(
                request.model_name, "oip", status.name, time.perf_counter() - began
            )


def add_to_server(service: InferenceService, server: Unregistered) -> None:
    """As the generated function, whose own handlers would copy each tensor as they parse it."""
    write = service_pb2.ModelInferResponse.SerializeToString
    write_streamed = service_pb2.ModelStreamInferResponse.SerializeToString
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(
            service.ModelInfer, InferRequest.read, write
        ),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            service.ModelStreamInfer, InferRequest.read, write_streamed
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


def _inputs(request: Any, contents: Sequence[bytes | memoryview]) -> list[Given]:
    """Raises: InvalidInput if an input has no data, or has it twice."""
    model = request.model_name
    place, count = 0, len(contents)
    inputs = []
    for tensor in request.inputs:
        name = tensor.name
        data: Any
        if tensor.parameters and "shared_memory_region" in tensor.parameters:
            raise InvalidInput(
                f"Unable to find shared memory region of input {quoted(name)}: send its bytes"
            )
        if tensor.HasField("contents"):
            if count:
                raise InvalidInput(
                    "contents field must not be specified when using raw_input_contents for "
                    f"{quoted(name)} for model '{model}'"
                )
            data = typed(name, tensor.datatype, tensor.contents, model)
        elif place < count:
            data = contents[place]
            place += 1
        else:
            raise InvalidInput(
                f"unable to find data for input tensor {quoted(name)} for model '{model}' in "
                "request."
            )
        inputs.append(Given(name, tensor.datatype, tuple(tensor.shape), data))
    if place < count:
        raise InvalidInput(
            f"unexpected additional input data for model '{model}': {count} raw_input_contents "
            f"for {place} inputs"
        )
    return inputs


def _wanted(output: Any) -> Wanted:
    parameters = output.parameters
    if not parameters:
        return Wanted(output.name)
    if "shared_memory_region" in parameters:
        raise InvalidInput(
            f"Unable to find shared memory region of output {quoted(output.name)}: leave it out"
        )
    if "classification" not in parameters:
        return Wanted(output.name)
    given = parameters["classification"]
    if given.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidInput(
            "invalid value type for 'classification' parameter, expected int64_param"
        )
    if given.int64_param < 0:
        raise InvalidInput("invalid value for 'classification' parameter, expected >= 0")
    return Wanted(output.name, given.int64_param)


def _values(parameters: Mapping[str, Any]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        values[name] = getattr(parameter, choice) if choice else None
    return values


def _response(model: str, request_id: str, result: Result) -> Any:
    response = service_pb2.ModelInferResponse(
        model_name=model, model_version=str(result.version), id=request_id
    )
    for name, value in result.outputs:
        response.outputs.add(name=name, datatype=datatype_of(value.dtype), shape=value.shape)
        response.raw_output_contents.append(raw(value))
    parameters = response.parameters
    for key, number in account_of(result).items():
        if isinstance(number, str):
            parameters[key].string_param = number
        else:
            parameters[key].int64_param = number
    return response


def account_of(result: Result) -> dict[str, int | str]:
    """As parameters of a response."""
    account = result.account
    return {
        "triptych_queue_us": account.queue_us,
        "triptych_decode_us": account.decode_us,
        "triptych_compute_us": account.compute_us,
        "triptych_batch_size": account.batch_size,
        "triptych_executor": account.executor,
    }


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
