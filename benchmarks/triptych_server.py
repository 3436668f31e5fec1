"""`triptych serve` in a process of its own, ready to be called."""

import asyncio
import os
import sys
from pathlib import Path

from benchmarks.processes import Process, free_port, until_it_answers

HEALTH = "/grpc.health.v1.Health/Check"


class TriptychServer(Process):
    """
    Args: precision: "f32", or "auto" for bf16 where it is admitted.
    server, ready_seconds: its address, and how long it took.
    """

    def __init__(
        self,
        repository: Path,
        cache: Path,
        log: Path,
        executor: str = "auto",
        precision: str = "f32",
    ) -> None:
        port = free_port()
        own = {"TRIPTYCH_CACHE": str(cache), "TRIPTYCH_PRECISION": precision}
        command = [sys.executable, "-m", "triptych", "serve", "--repository", str(repository)]
        command += ["--grpc-port", str(port), "--http-port", "0", "--executor", executor]
        super().__init__(command, log, os.environ | own)
        self.server = f"127.0.0.1:{port}"
        try:
            self.ready_seconds = asyncio.run(until_it_answers(self.server, HEALTH, self))
        except BaseException:
            self.end()
            raise
