"""The HTTP application: what an operator asks, the page that lists it all, and the given routers.

Each protocol's paths are its own file's matter; bounds on bodies are `http_guard`'s, and
connections `http_server`'s.
"""

import asyncio
import gzip
from collections.abc import Callable, Sequence
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from fastapi.routing import APIRoute

from serving.engine import Engine
from serving.manager import Manager
from serving.observability import Metrics, gauges_of
from serving.protocols import http_classify
from serving.protocols.http_guard import Guard
from serving.protocols.http_refusals import Refusal, install_handlers
from serving.protocols.http_server import HttpServer
from serving.settings import Settings
from serving.watcher import Watcher

__all__ = ["HttpServer", "build_app"]

EXAMPLE = """\
curl -F file=@photo.jpg 'http://HOST:PORT/v1/classify/MODEL?top_k=3'
curl --data-binary @sound.wav http://HOST:PORT/v1/classify/MODEL
curl --json '{"inputs": ["a text"]}' http://HOST:PORT/v1/classify/MODEL
"""


def build_app(
    *,
    engine: Engine,
    manager: Manager,
    watcher: Watcher,
    metrics: Metrics,
    settings: Settings,
    why_not_ready: Callable[[], str | None],
    routers: Sequence[APIRouter] = (),
) -> FastAPI:
    """
    Args: why_not_ready: None once the server is ready, else the reason.
    """
    app = FastAPI(
        title="triptych",
        version=version("triptych"),
        description="Images, sounds and texts in, labels out. The same engine as over gRPC.",
        docs_url=None,  # its pages come from a CDN, where there may be no network
        redoc_url=None,
        responses={"default": {"model": Refusal}},
    )
    app.add_middleware(Guard, max_request_bytes=settings.max_request_bytes)
    install_handlers(app)
    own = http_classify.router(engine=engine, metrics=metrics, settings=settings)
    listed = [own, *routers, _operators_router(manager, metrics, why_not_ready)]
    for router in listed:
        app.include_router(router)
    page = _page(listed)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return PlainTextResponse(page)

    return app


def _operators_router(
    manager: Manager, metrics: Metrics, why_not_ready: Callable[[], str | None]
) -> APIRouter:
    routes = APIRouter(tags=["operation"], default_response_class=PlainTextResponse)

    @routes.get("/metrics", summary="Prometheus metrics", response_model=None)
    async def scrape(request: Request) -> Response:
        metrics.see(gauges_of(manager))
        accept = request.headers.get("accept", "")
        packed = "gzip" in request.headers.get("accept-encoding", "")
        # Not on the loop: with many models it takes milliseconds.
        body, kind = await asyncio.to_thread(_exposition, metrics, accept, packed)
        headers = {"Content-Type": kind} | ({"Content-Encoding": "gzip"} if packed else {})
        return Response(body, headers=headers)

    @routes.get("/healthz", summary="Whether the process answers", response_model=None)
    async def healthy() -> Response:
        return PlainTextResponse("ok\n")

    @routes.get("/readyz", summary="Whether a model is ready; if not, why", response_model=None)
    async def ready() -> Response:
        reason = why_not_ready()
        return PlainTextResponse(f"{reason or 'ready'}\n", 503 if reason else 200)

    return routes


def _exposition(metrics: Metrics, accept: str, packed: bool) -> tuple[bytes, str]:
    body, kind = metrics.render(accept)
    return (gzip.compress(body) if packed else body), kind


def _page(routers: Sequence[APIRouter]) -> str:
    rows = [
        (" ".join(sorted(route.methods or ())), route.path, route.summary or "")
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    rows.append(("GET", "/openapi.json", "all of this, for programs"))
    methods, paths = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{row[0]:{methods}}  {row[1]:{paths}}  {row[2]}".rstrip() for row in rows]
    return "triptych\n\n" + "\n".join(lines) + f"\n\n{EXAMPLE}"
