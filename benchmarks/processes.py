"""Processes of a benchmark: started, asked by lines of JSON, timed by the core, and ended."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import grpc

from triptych.client import channel_options

PATIENCE_SECONDS = 300.0
END_SECONDS = 30.0


class Process:
    """Args: log: where both of its outputs go, unless it is a `Child`, whose output is answers."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] = os.environ,
        folder: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._answers else file,
                stderr=file,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,  # so that what it starts ends with it
                text=True,
            )
        self.pid = self._process.pid

    _answers = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def require_running(self) -> None:
        if self._process.poll() is not None:
            said = self.log.read_text().splitlines()[-15:]
            raise SystemExit(f"{self._process.args} ended:\n" + "\n".join(said))

    def end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what a peer has left behind
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Refused(Exception):
    """What a child says instead of an answer."""


class Child(Process):
    """Another module of ours that `answer`s."""

    _answers = True

    def __init__(self, module: str, log: Path, *arguments: str) -> None:
        super().__init__([sys.executable, "-m", module, *arguments], log)

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait(END_SECONDS)
            self.require_running()
        answered: dict[str, Any] = json.loads(line)
        if "refused" in answered:
            raise Refused(f"{answered['refused']} (log: {self.log})")
        return answered


def answer(respond: Any) -> None:
    """The other end of a Child: `respond` is called with each question's fields, until the end."""
    # Whatever a library prints goes to the log.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answered = respond(**json.loads(line))
        except Exception as error:
            traceback.print_exc()
            answered = {"refused": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answered) + "\n")
        answers.flush()


def core_seconds(pid: int) -> float:
    """That a process has used so far, all of its threads together."""
    # The clock of another process, as Linux numbers it: clock_getcpuclockid(3) of the C library.
    return time.clock_gettime(~pid << 3 | 2)


def resident_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1000


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def until_it_answers(server: str, method: str, process: Process) -> float:
    """Calls `method` with an empty message until that succeeds. Returns: the seconds it took."""
    began = time.perf_counter()
    async with grpc.aio.insecure_channel(server, options=channel_options(server)) as channel:
        call = channel.unary_unary(method)
        while True:
            process.require_running()
            try:
                # Field 1 is a name, and of health's answer the status: 1 is SERVING.
                answered = await call(b"", timeout=5, wait_for_ready=False)
                if answered == b"\x08\x01":
                    return time.perf_counter() - began
            except grpc.aio.AioRpcError:
                pass
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise SystemExit(f"{server} does not answer {method}: see {process.log}")
            await asyncio.sleep(0.05)
