"""/v2: the Open Inference Protocol over HTTP, with Triton's extensions and codes.

A request's body is JSON, and behind it, where a header tells where that ends, tensors as bytes.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import grpc
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from serving.engine import Engine, internal_error
from serving.errors import TriptychError
from serving.manager import Manager
from serving.observability import Metrics
from serving.protocols import open_inference_state as state
from serving.protocols.http_refusals import code_of as code_of_body
from serving.protocols.http_refusals import refusal
from serving.protocols.open_inference import (
    config_of,
    metadata_of,
    server_metadata,
    statistics_of,
)
from serving.protocols.open_inference_body import HEADER, parse, read_body, render
from serving.protocols.open_inference_call import (
    Asked,
    Caller,
    Unsupported,
    code_of,
    options_of,
)
from serving.protocols.status import HTTP
from serving.settings import Settings
from serving.watcher import Watcher

NAMES = re.compile(r"{(\w+)}")  # of a path's parameters
LARGE_BYTES = 100_000  # of JSON: what takes long enough to be read and written in a thread

Handler = Callable[..., Awaitable[Response]]


def router(
    *,
    engine: Engine,
    manager: Manager,
    watcher: Watcher,
    metrics: Metrics,
    settings: Settings,
    why_not_ready: Callable[[], str | None],
) -> APIRouter:
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    caller = Caller(engine, manager, settings, why_not_ready)

    def get(*paths: str, summary: str) -> Callable[[Handler], Handler]:
        return _routed(routes, "GET", paths, summary)

    def post(*paths: str, summary: str) -> Callable[[Handler], Handler]:
        return _routed(routes, "POST", paths, summary)

    def of_model(path: str) -> tuple[str, str]:
        return f"/models/{{model}}{path}", f"/models/{{model}}/versions/{{version}}{path}"

    @get("", summary="Name, version and extensions of the server")
    async def about(request: Request) -> Response:
        return JSONResponse(server_metadata())

    @get("/health/live", summary="Whether the server answers")
    async def live(request: Request) -> Response:
        caller.require_staying()
        return Response()

    @get("/health/ready", summary="Whether a model is ready")
    async def ready(request: Request) -> Response:
        caller.require_staying()
        reason = why_not_ready()
        return refusal(400, reason) if reason else Response()

    # Before those of a model, whose name "stats" could be.
    @get("/models/stats", summary="Statistics of all models")
    async def all_statistics(request: Request) -> Response:
        return JSONResponse({"model_stats": statistics_of(caller, engine, manager, "", "")})

    @get(*of_model("/ready"), summary="Whether a model, or a version of it, is ready")
    async def model_ready(request: Request, model: str, version: str = "") -> Response:
        with caller.acquire(model, version):
            return Response()

    @get(*of_model("/config"), summary="A model's configuration, as Triton has it")
    async def model_config(request: Request, model: str, version: str = "") -> Response:
        with caller.acquire(model, version) as handle:
            return JSONResponse(config_of(handle, caller.max_rows))

    @get(*of_model("/stats"), summary="Statistics of a model")
    async def model_statistics(request: Request, model: str, version: str = "") -> Response:
        told = statistics_of(caller, engine, manager, model, version)
        return JSONResponse({"model_stats": told})

    @get(*of_model(""), summary="A model's versions, inputs and outputs")
    async def model_metadata(request: Request, model: str, version: str = "") -> Response:
        with caller.acquire(model, version) as handle:
            return JSONResponse(metadata_of(handle, manager))

    @post(*of_model("/infer"), summary="Tensors in, tensors out")
    async def infer(request: Request, model: str, version: str = "") -> Response:
        began = time.perf_counter()
        status = grpc.StatusCode.CANCELLED  # by the caller, unless another one follows
        try:
            response = await _infer(caller, request, model, version)
            status = grpc.StatusCode.OK
            return response
        except HTTPException as error:  # of the guard, about the body
            status = code_of_body(error)
            raise
        except Exception as error:
            told = error if isinstance(error, TriptychError) else internal_error(error)
            status = code_of(told)
            raise told from None
        finally:
            metrics.request(model, "oip", status.name, time.perf_counter() - began)

    @post("/repository/index", summary="Every version, its state and its reason")
    async def index(request: Request) -> Response:
        wanted = await read_body(request)
        return JSONResponse(state.index(watcher, only_ready=wanted.get("ready") is True))

    @post("/repository/models/{model}/load", summary="Load a model, or try it again")
    async def load(request: Request, model: str) -> Response:
        wanted = await read_body(request)
        await state.load(watcher, model, wanted.get("parameters") or {})
        return Response()

    @post("/repository/models/{model}/unload", summary="Unload a model until it is loaded again")
    async def unload(request: Request, model: str) -> Response:
        await state.unload(watcher, model)
        return Response()

    for memory in ("systemsharedmemory", "cudasharedmemory"):
        _refuse_memory(get, post, memory)

    @get("/trace/setting", "/logging", summary="Settings that there are none of")
    async def no_settings(request: Request) -> Response:
        return JSONResponse({})

    @post("/trace/setting", "/logging", summary="Not supported")
    async def refuse_settings(request: Request) -> Response:
        raise Unsupported("the server has no settings of traces and logs that a client may change")

    return routes


async def _infer(caller: Caller, request: Request, model: str, version: str) -> Response:
    with caller.acquire(model, version) as handle:  # what cannot be answered need not be read
        body = await request.body()
        header = request.headers.get(HEADER)
        encoding = request.headers.get("content-encoding", "")
        large = len(body) >= LARGE_BYTES
        parsing = (body, header, encoding, handle.name)
        call = await asyncio.to_thread(parse, *parsing) if large else parse(*parsing)
        asked = Asked(options_of(call.parameters), call.inputs, call.wanted)
        result = await caller.infer(handle, call.id, asked, call.data)
        told = {
            "model_name": handle.name,
            "model_version": str(result.version),
            **({"id": call.id} if call.id else {}),
            "parameters": dict(result.account.metadata()),
        }
        large = sum(value.size for _, value in result.outputs) * 8 >= LARGE_BYTES
        rendering = (told, result.outputs, call)
        content, json_bytes = (
            await asyncio.to_thread(render, *rendering) if large else render(*rendering)
        )
    headers = dict(result.account.metadata())
    if json_bytes is None:
        return Response(content, headers=headers, media_type="application/json")
    headers[HEADER] = str(json_bytes)
    return Response(content, headers=headers, media_type="application/octet-stream")


def _routed(
    routes: APIRouter, method: str, paths: tuple[str, ...], summary: str
) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        answering = _answering(handler)
        for path in paths:
            routes.add_api_route(
                path,
                answering,
                methods=[method],
                summary=summary,
                response_model=None,
                openapi_extra={"parameters": [_told(name) for name in NAMES.findall(path)]},
                operation_id=f"{method} /v2{path}",
            )
        return handler

    return add


def _told(name: str) -> dict[str, object]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _answering(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """`handler` with the path's parameters, and this protocol's codes for its errors."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request, **request.path_params)
        except TriptychError as error:
            return refusal(HTTP[code_of(error)], str(error))

    return answer


def _refuse_memory(
    get: Callable[..., Callable[[Handler], Handler]],
    post: Callable[..., Callable[[Handler], Handler]],
    memory: str,
) -> None:
    @get(f"/{memory}/status", f"/{memory}/region/{{region}}/status", summary="None is registered")
    async def status(request: Request, region: str = "") -> Response:
        return JSONResponse([])

    @post(f"/{memory}/region/{{region}}/register", summary="Not supported")
    async def register(request: Request, region: str) -> Response:
        raise Unsupported("shared memory is not supported: send tensors as binary data")

    @post(
        f"/{memory}/unregister", f"/{memory}/region/{{region}}/unregister", summary="Does nothing"
    )
    async def unregister(request: Request, region: str = "") -> Response:
        return Response()
