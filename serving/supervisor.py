"""Several server processes on one port, for machines with more cores than one can use.

The kernel deals out connections (SO_REUSEPORT), so a client should open as many as there are
workers. A worker that dies is started again; on a signal all of them end in good order. What a
worker does in its own process is `serving.worker`'s matter: here nothing that serves is imported,
which would take half a gigabyte.
"""

import asyncio
import json
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import TypeVar

from serving.observability import configure_logging, forget_worker
from serving.ready import Ready
from serving.settings import Settings

logger = logging.getLogger(__name__)

RESTART_SECONDS = (0.1, 1.0, 5.0, 30.0)  # before each try; the last again and again
STEADY_SECONDS = 60.0  # after which a death is no longer one of a row
LAST_SECONDS = 5.0  # beyond drain_seconds, for the rest of an orderly end
PORTS = {"grpc_port": "gRPC", "http_port": "HTTP"}

T = TypeVar("T")


async def supervise(settings: Settings, on_ready: Callable[[Ready], None]) -> None:
    """Runs `settings.workers` servers until SIGTERM or SIGINT. In the main thread.

    A second signal ends them at once.

    Args:   on_ready: called once every worker is ready.
    Raises: OSError if a port is taken, if a worker could not start, with its reason, or if a
            second signal cut calls off.
    """
    configure_logging(settings.log_level)
    loop = asyncio.get_running_loop()
    ending, at_once = asyncio.Event(), asyncio.Event()

    def end(number: signal.Signals) -> None:
        how = "at once" if ending.is_set() else "in good order"
        logger.info("%s: the workers end %s", number.name, how)
        (at_once if ending.is_set() else ending).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(end, number))
    with ExitStack() as held:
        ports = {name: held.enter_context(_hold(settings, name)) for name in PORTS}
        own = share(settings, {name: place.getsockname()[1] for name, place in ports.items()})
        metrics = held.enter_context(TemporaryDirectory(prefix="triptych-"))
        workers = [_Worker(index, own, metrics) for index in range(settings.workers)]
        try:
            ready = await _unless(ending, _start(workers))
            if ready is not None:
                on_ready(ready)
                await _unless(ending, asyncio.gather(*(worker.keep() for worker in workers)))
        finally:
            stopping = asyncio.gather(*(worker.stop() for worker in workers))
            await _unless(at_once, stopping)
            await asyncio.gather(*(worker.kill() for worker in workers))
    if at_once.is_set():
        raise ChildProcessError("a second signal came: calls in progress were cut off")


def share(settings: Settings, ports: Mapping[str, int]) -> Settings:
    """Those of one worker, of which all threads together are as many as one server's.

    The threads that decode too: each holds an input in memory, and they would take the processors
    from those that compute. Without a remainder, so that one measurement serves all.
    """
    threads = {
        name: max(1, getattr(settings, name) // settings.workers)
        for name in ("threads", "preprocess_threads")
    }
    return settings.model_copy(update={**threads, **ports, "reuse_port": True, "workers": 1})


class Patience:
    """How long to wait before a worker is started again: longer for each death in a row."""

    def __init__(self) -> None:
        self._deaths = 0

    def before_next(self, lived_seconds: float) -> float:
        """Args: lived_seconds: since it was ready; a death before that is of less than none."""
        if lived_seconds >= STEADY_SECONDS:
            self._deaths = 0
        seconds = RESTART_SECONDS[min(self._deaths, len(RESTART_SECONDS) - 1)]
        self._deaths += 1
        return seconds


class _Worker:
    """Args: metrics: the folder where all workers count."""

    def __init__(self, index: int, settings: Settings, metrics: str) -> None:
        self._index = index
        self._name = f"worker {index}"
        self._metrics = metrics
        self._patient_seconds = settings.drain_seconds + LAST_SECONDS
        given = {"settings": settings.model_dump(mode="json"), "index": index, "metrics": metrics}
        self._order = f"{json.dumps(given)}\n".encode()
        # It imports what this process does: no file of the folder that it is started in.
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        self._environment = os.environ | {"PYTHONPATH": path}
        self._process: asyncio.subprocess.Process | None = None
        self._ready_at = math.inf

    async def start(self) -> Ready:
        """Raises: ChildProcessError, with its reason, if it ends before it is ready."""
        self._ready_at = math.inf
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "serving.worker"),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,  # whose end is the worker's
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the supervisor's to pass on
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self._order)
        said = await process.stdout.read()
        if not said.endswith(b"\n"):
            raise ChildProcessError(
                f"{self._name} ended with {await process.wait()} before it was ready: the log says "
                "why, unless it was killed, for want of memory, say"
            )
        told = json.loads(said)
        if "error" in told:
            raise ChildProcessError(told["error"])
        self._ready_at = asyncio.get_running_loop().time()
        logger.info("%s is ready, process %d", self._name, process.pid)
        grpc_port, http_port, models = told["ready"]
        return Ready(grpc_port, http_port, [(name, version) for name, version in models])

    async def keep(self) -> None:
        """Starts it again whenever it has ended."""
        patience = Patience()
        loop = asyncio.get_running_loop()
        while self._process is not None:
            code = await self._process.wait()
            forget_worker(self._metrics, self._index)
            seconds = patience.before_next(loop.time() - self._ready_at)
            logger.error("%s ended with %d: it is started again in %g s", self._name, code, seconds)
            await asyncio.sleep(seconds)
            try:
                await self.start()
            except OSError as error:
                logger.error("%s could not be started: %s", self._name, error)

    async def stop(self) -> None:
        """In good order. That does not wait for one that hangs."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            async with asyncio.timeout(self._patient_seconds):
                await self._process.wait()
        except TimeoutError:
            logger.error("%s did not end within %g s", self._name, self._patient_seconds)

    async def kill(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def _start(workers: Sequence[_Worker]) -> Ready:
    """The first one alone: what it measures, undisturbed, and compiles, the others find then."""
    first, *others = workers
    ready = await first.start()
    for done in await asyncio.gather(
        *(worker.start() for worker in others), return_exceptions=True
    ):
        if isinstance(done, BaseException):
            raise done
    return ready


async def _unless(ending: asyncio.Event, work: Awaitable[T]) -> T | None:
    """What `work` gives, or nothing once it is to end."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


def _hold(settings: Settings, name: str) -> socket.socket:
    """Keeps a port for the workers, without listening on it.

    Raises: OSError if it is taken, or the host is not an address of this machine.
    """
    host, port = settings.host, getattr(settings, name)
    try:
        return _bind(host, port, settings.reuse_port)
    except OSError as error:
        option = name.replace("_", "-")
        raise OSError(
            f"cannot listen on {host} port {port} for {PORTS[name]}: {error.strerror}. Choose "
            f"another with --{option} (0: any free one)"
        ) from error


def _bind(host: str, port: int, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if not shared:  # with servers that are none of these workers
        with socket.socket(family, kind, protocol) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()
    held = socket.socket(family, kind, protocol)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except BaseException:
        held.close()
        raise
    return held
