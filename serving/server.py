"""Builds the server out of its parts, runs it, and ends it. Nothing else constructs them."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.triptych.v1 import classifier_pb2_grpc
from serving.batcher import Batcher
from serving.engine import Engine, LoadedVersion
from serving.errors import RepositoryError
from serving.manager import Manager
from serving.observability import HttpEndpoints, Metrics, configure_logging
from serving.protocols.triptych_v1 import SERVICE, ClassifierService
from serving.repository import VersionFolder, scan
from serving.runtime.servable import Servable
from serving.settings import Settings
from serving.version_policy import State

logger = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ARRIVAL_SECONDS = 0.1  # from a client's sending a call until it begins here
LAST_GRACE_SECONDS = 0.5  # for answers to leave; health watches, say, would stay for ever

Snapshot = Mapping[str, Mapping[int, VersionFolder]]


class Ready(NamedTuple):
    grpc_port: int
    http_port: int
    models: list[tuple[str, int]]  # name and newest version that is ready


class Server:
    """One server in the running event loop: `start`, `stop`, and `rescan` for the impatient."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._workers = ThreadPoolExecutor(settings.preprocess_threads, "preprocess")
        self._loader = ThreadPoolExecutor(1, "load")  # one at a time, as it takes the processors
        self._manager = Manager(self._load, on_change=self._on_change)
        self._engine = Engine(self._manager, self._metrics, settings, self._workers)
        self._health = health.aio.HealthServicer()
        self._http = HttpEndpoints(self._metrics, self._why_not_ready)
        self._grpc = self._build_grpc()
        self._ready: dict[str, bool] = {}  # every model that was ever seen
        self._announcing = asyncio.Lock()
        self._started = False  # the whole repository has been tried once
        self._stopping = False
        self._seen: Snapshot | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Ready:
        """Listens, loads what the repository has, and goes on watching it.

        Raises: OSError if a port is taken; RepositoryError if the repository cannot be listed.
        """
        grpc_port = self._listen_grpc()
        http_port = self._listen_http()
        await self._announce()
        await self._grpc.start()
        await self.rescan()
        self._started = True
        await self._announce()
        self._spawn(self._watch())
        if not any(self._ready.values()):
            logger.warning("not ready: %s", self._why_not_ready())
        return Ready(grpc_port, http_port, self._newest())

    async def rescan(self) -> None:
        """Looks at the repository now, and returns once what it asks for is done.

        Raises: RepositoryError if it cannot be listed.
        """
        # Not the loader's thread: a new version of one model need not wait until another's loads.
        self._seen = await asyncio.to_thread(scan, self._settings.repository)
        await self._manager.reconcile(self._seen)
        await self._announce()

    async def stop(self) -> None:
        """Refuses what is new, answers what is in progress within drain_seconds, and unloads."""
        self._stopping = True
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
        await self._grpc.stop(LAST_GRACE_SECONDS)
        await self._manager.close()
        await asyncio.to_thread(self._http.stop)
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _build_grpc(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._settings.max_request_bytes),
                ("grpc.so_reuseport", 0),  # a second server on the port is a mistake
            ]
        )
        service = ClassifierService(
            self._engine, self._manager, self._metrics, self._settings.max_inputs_per_request
        )
        classifier_pb2_grpc.add_ClassifierServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        return server

    def _listen_grpc(self) -> int:
        host, port = self._settings.host, self._settings.grpc_port
        try:
            return self._grpc.add_insecure_port(f"{f'[{host}]' if ':' in host else host}:{port}")
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {host} port {port} for gRPC: it is taken, or {host} is not an "
                "address of this machine. Choose another with --grpc-port (0: any free one)"
            ) from error

    def _listen_http(self) -> int:
        host, port = self._settings.host, self._settings.http_port
        try:
            return self._http.start(host, port)
        except OSError as error:
            raise OSError(
                f"cannot listen on {host} port {port} for HTTP: {error.strerror}. Choose another "
                "with --http-port (0: any free one)"
            ) from error

    async def _watch(self) -> None:
        """Follows the repository. A slow load or drain of one model holds up no other."""
        complaint = ""
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            try:
                snapshot = await asyncio.to_thread(scan, self._settings.repository)
            except Exception as error:
                if str(error) != complaint:
                    logger.error(
                        "%s What is loaded goes on serving",
                        error,
                        exc_info=not isinstance(error, RepositoryError),
                    )
                complaint = str(error)
                continue
            complaint = ""
            if snapshot != self._seen:
                self._seen = snapshot
                self._spawn(self._follow(snapshot))

    async def _follow(self, snapshot: Snapshot) -> None:
        try:
            await self._manager.reconcile(snapshot)
        except Exception:
            logger.exception("the repository could not be followed, and will be again")
            self._seen = None

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
        self._ready[model] = ready
        self._metrics.ready(model, ready)
        if not self._stopping:
            self._spawn(self._announce())

    async def _announce(self) -> None:
        """Tells health what is ready now, so that of two calls the later one tells the truth."""
        async with self._announcing:
            overall = self._why_not_ready() is None
            for name, ready in {**self._ready, SERVICE: overall, "": overall}.items():
                await self._health.set(name, SERVING if ready else NOT_SERVING)

    def _why_not_ready(self) -> str | None:
        if self._stopping:
            return "the server is ending"
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
            if on_ready is not None:
                on_ready(ready)
            await waiting
    finally:
        starting.cancel()
        waiting.cancel()
        await asyncio.gather(starting, waiting, return_exceptions=True)
        await server.stop()
