"""One process that works beside a server, as that holds it: started when first asked. asyncio."""

import asyncio
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from serving.runtime.affinity import PROCESSORS
from serving.side_worker import LENGTH, pack

END_SECONDS = 2.0  # for an idle one to see that its input ended


class Lost(Exception):
    """It ended in the midst of a job: it was killed, say, for want of memory."""


class SideProcess:
    """
    Args: module: that it runs, which answers jobs by `serving.side_worker`.
          nice: its priority; 19 is the lowest.
    """

    def __init__(self, module: str, nice: int) -> None:
        self._module = module
        self.nice = nice
        self._child: asyncio.subprocess.Process | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, job: Any) -> Any:
        """One job at a time. After a failure, or a cancelled call, it is only to be killed.

        Raises: Lost; OSError if it cannot be started.
        """
        self._stop_timer()
        if self._child is None:
            starting = asyncio.create_task(_start(self._module, self.nice))
            try:
                await asyncio.shield(starting)
            finally:  # who gives up in the midst of it has a process to kill, too
                self._child = await starting
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(pack(job))
            await child.stdin.drain()
            (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
            return pickle.loads(await child.stdout.readexactly(length))
        # uvloop has a RuntimeError for a pipe that is closed.
        except (EOFError, ConnectionError, RuntimeError) as error:
            code = await child.wait()
            raise Lost(f"{self._module} ended with {code}") from error

    def call_after(self, seconds: float, then: Callable[[], None]) -> None:
        """Unless it is asked before."""
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    async def end(self) -> None:
        """Of an idle one, in good order."""
        self._stop_timer()
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._child.wait()
        await self.kill()

    async def kill(self) -> None:
        self._stop_timer()
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _start(module: str, nice: int) -> asyncio.subprocess.Process:
    # It imports what this process does: no file of the folder that it is started in.
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, str(nice)),
        *map(str, PROCESSORS),
        env=os.environ | {"PYTHONPATH": path},
        stdin=asyncio.subprocess.PIPE,  # whose end is the process's
        stdout=asyncio.subprocess.PIPE,
    )
