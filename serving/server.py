"""Builds the server out of its parts, runs it, and ends it. Nothing else constructs them."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2_grpc

from serving.batcher import Batcher
from serving.compute_budget import ComputeBudget
from serving.engine import Engine, LoadedVersion
from serving.errors import ENDING
from serving.explainer import Explainer
from serving.loader import Loader
from serving.manager import Manager
from serving.observability import Metrics, configure_logging
from serving.protocols import (
    http_explain,
    open_inference,
    open_inference_rest,
    tensorflow_serving,
    tensorflow_serving_rest,
    triptych_v1,
)
from serving.protocols.http import HttpServer, build_app
from serving.protocols.unregistered import Unregistered
from serving.ready import Ready
from serving.repository import VersionFolder
from serving.runtime.affinity import gather, spread
from serving.settings import Settings
from serving.statistics import VersionStatistics
from serving.version_policy import State
from serving.watcher import Watcher

logger = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ARRIVAL_SECONDS = 0.1  # from a client's sending a call until it begins here
MAX_PENDING_CALLS = 20_000
SWITCH_SECONDS = 0.0001  # a thread with results waits for a busy loop so long, not Python's 5 ms
LAST_GRACE_SECONDS = 0.5  # for answers to leave; health watches, say, would stay for ever


class Server:
    """One server in the running event loop: `start`, `stop`, and `rescan` for the impatient."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._budget = ComputeBudget(settings.threads)
        self._workers = ThreadPoolExecutor(
            settings.preprocess_threads, "preprocess", initializer=spread
        )
        self._loader = Loader(settings)
        self._manager = Manager(self._load, on_change=self._on_change)
        self._watcher = Watcher(
            settings.repository,
            self._manager,
            settings.poll_seconds,
            shared=settings.reuse_port,
        )
        self._engine = Engine(self._manager, self._metrics, settings, self._workers)
        self._explainer = Explainer(self._engine, self._manager, settings)
        self._health = health.aio.HealthServicer()
        self._parts: dict[str, Any] = {
            "engine": self._engine,
            "manager": self._manager,
            "watcher": self._watcher,
            "metrics": self._metrics,
            "settings": settings,
            "why_not_ready": self._why_not_ready,
        }
        self._http = self._build_http()
        self._grpc = self._build_grpc()
        self._ready: dict[str, bool] = {}  # every model that was ever seen
        self._announcing = asyncio.Lock()
        self._started = False  # the whole repository has been tried once
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Ready:
        """Listens, loads what the repository has, and goes on watching it.

        Raises: OSError if a port is taken; RepositoryError if the repository cannot be listed.
        """
        shared = self._settings.reuse_port
        if shared:  # a connection that came before the models would miss those of other servers
            await self.rescan()
        grpc_port = self._listen_grpc()
        http_port = await self._http.start(
            self._settings.host, self._settings.http_port, reuse_port=shared
        )
        await self._announce()
        await self._grpc.start()
        if not shared:  # so that a client is told what is being loaded
            await self.rescan()
        self._started = True
        self._loader.give_way()
        await self._announce()
        self._watcher.start()
        if not any(self._ready.values()):
            logger.warning("not ready: %s", self._why_not_ready())
        return Ready(grpc_port, http_port, self._newest())

    async def rescan(self) -> None:
        """Looks at the repository now, and returns once what it asks for is done.

        Raises: RepositoryError if it cannot be listed.
        """
        await self._watcher.rescan()
        await self._announce()

    async def stop(self) -> None:
        """Refuses what is new, answers what is in progress within drain_seconds, and unloads."""
        self._stopping = True
        await self._watcher.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(ARRIVAL_SECONDS)
        # From here on the manager refuses new calls, with a reason: gRPC drops them without one.
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._manager.close()
        except TimeoutError:
            logger.warning(
                "some requests took longer than TRIPTYCH_DRAIN_SECONDS (%g): they are cut off",
                self._settings.drain_seconds,
            )
        await asyncio.sleep(ARRIVAL_SECONDS)
        await self._explainer.close()
        await self._loader.close()
        await self._grpc.stop(LAST_GRACE_SECONDS)
        await self._manager.close()
        await self._http.stop()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _build_grpc(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._settings.max_request_bytes),
                # Calls that gRPC has, and this loop has not seen yet. Beyond 1,000, its own limit,
                # it drops some with CANCELLED and no reason, where the queue would say one.
                ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
                # Unless it is asked for, a second server on the port is a mistake.
                ("grpc.so_reuseport", int(self._settings.reuse_port)),
            ]
        )
        methods: Any = Unregistered(server)  # where stubs want the server itself
        triptych_v1.add_to_server(
            triptych_v1.ClassifierService(**self._parts, explainer=self._explainer), methods
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, methods)
        names = [triptych_v1.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME]
        open_inference.add_to_server(open_inference.InferenceService(**self._parts), methods)
        tensorflow_serving.add_to_server(
            tensorflow_serving.PredictionService(**self._parts), methods
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            tensorflow_serving.ModelService(**self._parts), methods
        )
        names += [open_inference.SERVICE, *tensorflow_serving.SERVICES]
        reflection.enable_server_reflection(names, methods)
        return server

    def _build_http(self) -> HttpServer:
        routers = [
            http_explain.router(**self._parts, explainer=self._explainer),
            open_inference_rest.router(**self._parts),
            tensorflow_serving_rest.router(**self._parts),
        ]
        return HttpServer(build_app(**self._parts, routers=routers))

    def _listen_grpc(self) -> int:
        host, port = self._settings.host, self._settings.grpc_port
        try:
            return self._grpc.add_insecure_port(f"{f'[{host}]' if ':' in host else host}:{port}")
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {host} port {port} for gRPC: it is taken, or {host} is not an "
                "address of this machine. Choose another with --grpc-port (0: any free one)"
            ) from error

    async def _load(self, folder: VersionFolder) -> LoadedVersion:
        servable, batching = await self._loader.load(folder)
        statistics = VersionStatistics()

        def on_batch(rows: int, nanoseconds: int) -> None:
            statistics.batch(rows, nanoseconds)
            self._metrics.batch(folder.name, rows)

        batcher = Batcher(
            servable.executor,
            batching,
            batched=servable.endpoints[servable.default_endpoint].batched,
            budget=self._budget,
            on_batch=on_batch,
        )
        return LoadedVersion(servable, batcher, statistics)

    def _on_change(self, model: str, ready: bool) -> None:
        self._ready[model] = ready
        self._metrics.ready(model, ready)
        if not self._stopping:
            self._spawn(self._announce())

    async def _announce(self) -> None:
        """Tells health what is ready now, so that of two calls the later one tells the truth."""
        async with self._announcing:
            overall = self._why_not_ready() is None
            for name, ready in {**self._ready, triptych_v1.SERVICE: overall, "": overall}.items():
                await self._health.set(name, SERVING if ready else NOT_SERVING)

    def _why_not_ready(self) -> str | None:
        if self._stopping:
            return ENDING
        if not self._started:
            return "the models are being loaded"
        if any(self._ready.values()):
            return None
        repository = self._settings.repository
        if self._ready:
            return (
                f"no model of {repository} is ready: the log and `triptych models serving` say why"
            )
        return (
            f"{repository} has no models: `triptych export RUN --repository {repository}` adds "
            "one, which is served as soon as it is there"
        )

    def _newest(self) -> list[tuple[str, int]]:
        newest = []
        for name, versions in self._manager.models().items():
            ready = [number for number, status in versions.items() if status.state is State.READY]
            newest += [(name, number) for number in ready[:1]]
        return newest

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def serve(settings: Settings, on_ready: Callable[[Ready], None] | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in progress. In the main thread.

    A second signal ends the process at once.

    Args:   on_ready: called once the whole repository has been tried.
    Raises: OSError if a port is taken; RepositoryError if the repository cannot be listed.
    """
    configure_logging(settings.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        logger.info("%s: finishing what is in progress", number.name)
        ending.set()
        for again in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(again)
            signal.signal(again, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(end, number))
    server = Server(settings)
    starting = asyncio.create_task(server.start())
    waiting = asyncio.create_task(ending.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            ready = starting.result()
            gather(settings.threads)
            if on_ready is not None:
                on_ready(ready)
            await waiting
    finally:
        starting.cancel()
        waiting.cancel()
        await asyncio.gather(starting, waiting, return_exceptions=True)
        await server.stop()
