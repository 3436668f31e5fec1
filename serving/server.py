"""Builds the server out of its parts, runs it, and ends it. Nothing else constructs them."""

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc
from serving.batcher import Batcher
from serving.engine import Engine, LoadedVersion
from serving.errors import RepositoryError, TriptychError
from serving.manager import Manager
from serving.observability import HttpEndpoints, Metrics, configure_logging
from serving.protocols.triptych_v1 import ClassifierService
from serving.repository import VersionFolder, scan
from serving.runtime.servable import Servable
from serving.settings import Settings

logger = logging.getLogger(__name__)

SERVICE = classifier_pb2.DESCRIPTOR.services_by_name["Classifier"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Ready(NamedTuple):
    grpc_port: int
    http_port: int
    models: list[tuple[str, int]]  # name and newest version


class Server:
    """One server in the running event loop: `start`, `stop`, and `rescan` for the impatient."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._metrics = Metrics()
        self._workers = ThreadPoolExecutor(settings.preprocess_threads, "preprocess")
        self._loader = ThreadPoolExecutor(1, "load")
        self._manager = Manager(self._load, on_change=self._on_change)
        self._health = health.aio.HealthServicer()
        self._http = HttpEndpoints(self._metrics, self._why_not_ready)
        self._ready_models: set[str] = set()
        self._started = False  # the whole repository has been tried once
        self._announcements: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._polling: asyncio.Task[None] | None = None
        self._grpc = self._build_grpc()

    async def start(self) -> Ready:
        """Listen, load what the repository has, and go on watching it.

        Raises: RepositoryError if it cannot be listed; OSError if a port is taken.
        """
        address = f"{self._settings.host}:{self._settings.grpc_port}"
        try:
            grpc_port = self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {address}: the port is taken, or not this machine's address;"
                " choose another one with --grpc-port"
            ) from error
        http_port = self._start_http()
        await self._health.set("", NOT_SERVING)
        await self._health.set(SERVICE, NOT_SERVING)
        await self._grpc.start()
        await self.rescan()
        self._started = True
        await self._announce_overall()
        self._polling = asyncio.create_task(self._poll())
        if not self._ready_models:
            logger.warning(
                "no model is ready in %s: `triptych export RUN --repository %s` adds one",
                self._settings.repository,
                self._settings.repository,
            )
        return Ready(grpc_port, http_port, self._newest())

    async def rescan(self) -> None:
        """Look at the repository now, and load and unload until it is served."""
        loop = asyncio.get_running_loop()
        snapshot = await loop.run_in_executor(self._loader, scan, self._settings.repository)
        await self._manager.reconcile(snapshot)
        if self._announcements:
            await asyncio.wait(self._announcements)

    async def stop(self) -> None:
        """Refuse what is new, answer what is in flight, within drain_seconds, and unload."""
        self._stopping = True
        await self._health.enter_graceful_shutdown()
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
        await self._grpc.stop(self._settings.drain_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._manager.close()
        self._http.stop()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _build_grpc(self) -> grpc.aio.Server:
        options = [
            ("grpc.max_receive_message_length", self._settings.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a second server on the port is a mistake
        ]
        server = grpc.aio.server(options=options)
        engine = Engine(self._manager, self._workers, self._metrics)
        service = ClassifierService(
            engine, self._manager, self._metrics, self._settings.max_inputs_per_request
        )
        classifier_pb2_grpc.add_ClassifierServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        return server

    def _start_http(self) -> int:
        try:
            return self._http.start(self._settings.host, self._settings.http_port)
        except OSError as error:
            raise OSError(
                f"cannot listen on {self._settings.host}:{self._settings.http_port}:"
                f" {error.strerror}; choose another one with --http-port"
            ) from error

    async def _load(self, folder: VersionFolder) -> LoadedVersion:
        loop = asyncio.get_running_loop()
        servable = await loop.run_in_executor(self._loader, self._load_blocking, folder)
        batcher = Batcher(
            servable.predict,
            max_batch_size=self._settings.max_batch_size,
            batch_timeout_seconds=self._settings.batch_timeout_seconds,
            max_queue_size=self._settings.max_queue_size,
            on_batch=lambda size, seconds: self._metrics.batch(folder.name, size),
        )
        return LoadedVersion(servable, batcher)

    def _load_blocking(self, folder: VersionFolder) -> Servable:
        servable = Servable.load(folder.path, self._settings.executor, self._settings.limits)
        try:
            servable.check_golden()
            servable.warm_up((1, self._settings.max_batch_size))
        except BaseException:
            servable.close()
            raise
        return servable

    def _on_change(self, model: str, ready: bool) -> None:
        (self._ready_models.add if ready else self._ready_models.discard)(model)
        self._metrics.ready(model, ready)
        task = asyncio.create_task(self._announce(model))
        self._announcements.add(task)
        task.add_done_callback(self._announcements.discard)

    async def _announce(self, model: str) -> None:
        await self._health.set(model, SERVING if model in self._ready_models else NOT_SERVING)
        await self._announce_overall()

    async def _announce_overall(self) -> None:
        overall = NOT_SERVING if self._why_not_ready() else SERVING
        await self._health.set("", overall)
        await self._health.set(SERVICE, overall)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            try:
                await self.rescan()
            except RepositoryError as error:
                logger.warning("%s; what is loaded goes on serving", error)
            except Exception:
                logger.exception("the repository could not be followed; trying again")

    def _why_not_ready(self) -> str | None:
        if self._stopping:
            return "the server is ending"
        if not self._started:
            return "the models are being loaded"
        if not self._ready_models:
            return f"no model is ready: see {self._settings.repository} and the log"
        return None

    def _newest(self) -> list[tuple[str, int]]:
        newest = []
        for name in sorted(self._ready_models):
            with suppress(TriptychError), self._manager.acquire(name) as handle:
                newest.append((name, handle.loaded.servable.version))
        return newest


async def serve(settings: Settings, on_ready: Callable[[Ready], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight. A second one ends at once."""
    configure_logging(settings.log_level)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        logger.info("%s: finishing what is in flight", number.name)
        ending.set()
        for again in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(again)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    server = Server(settings)
    try:
        starting = asyncio.create_task(server.start())
        waiting = asyncio.create_task(ending.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            return
        if on_ready is not None:
            on_ready(starting.result())
        starting.result()
        await waiting
    finally:
        await server.stop()
