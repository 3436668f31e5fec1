"""Several server processes on one port, for machines with more cores than one can use.

The kernel deals out connections (SO_REUSEPORT), so a client should open as many as there are
workers. A worker that dies is started again; on a signal all of them end in good order.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from serving.observability import configure_logging
from serving.server import Ready
from serving.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

RESTART_SECONDS = (0.1, 1.0, 5.0, 30.0)  # before each try; the last again and again


async def supervise(settings: Settings, on_ready: Callable[[Ready], None]) -> None:
    """Runs `settings.workers` servers until SIGTERM or SIGINT. In the main thread.

    Args:   on_ready: called once every worker is ready.
    Raises: OSError if a port is taken, or if a worker ends before it was ready.
    """
    configure_logging(settings.log_level)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    with ExitStack() as held:
        ports = {
            name: held.enter_context(_hold(settings.host, getattr(settings, name)))
            for name in ("grpc_port", "http_port")
        }
        bound = {name: place.getsockname()[1] for name, place in ports.items()}
        workers = [_Worker(index, settings, bound) for index in range(settings.workers)]
        try:
            ready = await _unless(ending, asyncio.gather(*(worker.start() for worker in workers)))
            if ready:
                on_ready(ready[0])
                await _unless(ending, asyncio.gather(*(worker.keep() for worker in workers)))
        finally:
            await asyncio.gather(*(worker.stop() for worker in workers))


class _Worker:
    def __init__(self, index: int, settings: Settings, ports: dict[str, int]) -> None:
        self._name = f"worker {index}"
        own = settings.model_dump(mode="json") | ports
        own |= {"reuse_port": True, "workers": 1}
        own["threads"] = max(1, settings.threads // settings.workers)
        self._environment = os.environ | {
            f"{PREFIX}{name.upper()}": str(value)
            for name, value in own.items()
            if value is not None
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> Ready:
        """Raises: OSError if it ends before it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "serving.worker",
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the supervisor's to pass on
        )
        self._process = process
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise OSError(f"{self._name} ended with {await process.wait()} before it was ready")
        ready = json.loads(line)
        logger.info("%s is ready, process %d", self._name, process.pid)
        return Ready(ready["grpc_port"], ready["http_port"], [tuple(m) for m in ready["models"]])

    async def keep(self) -> None:
        """Starts it again whenever it has ended."""
        tries = 0
        while True:
            if self._process is not None:
                code = await self._process.wait()
                logger.error("%s ended with %d: it is started again", self._name, code)
            await asyncio.sleep(RESTART_SECONDS[min(tries, len(RESTART_SECONDS) - 1)])
            tries += 1
            try:
                await self.start()
                tries = 0
            except OSError as error:
                logger.error("%s", error)

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _unless(ending: asyncio.Event, work: asyncio.Future[Any]) -> list[Ready]:
    """What `work` gives, or nothing once it is to end."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return list(work.result()) if work.done() else []
    finally:
        waiting.cancel()
        work.cancel()
        await asyncio.gather(work, waiting, return_exceptions=True)


def _hold(host: str, port: int) -> socket.socket:
    """Keeps a port for the workers, without listening on it.

    Raises: OSError if it is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        with socket.socket(family, kind, protocol) as alone:  # which no sharing is refused
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another port (0: any "
            "free one)"
        ) from error
    return held
