"""Further processes that compute, where one interpreter would be the limit.

An interpreter runs one thread at a time, and each input takes its share of it, whatever the
network. So one process keeps two processors busy with a large network, and not with a small one.
Then there are as many as that takes, and this one reads and writes only. While they open the model,
it computes itself; if one dies, what that had is computed here.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.batch.errors import BatchError
from pipelines.batch.options import Job
from pipelines.batch.predictor import Predictor
from pipelines.batch.workers import Workers

logger = logging.getLogger(__name__)

INTERPRETER_SECONDS = 0.2e-3  # that an input holds the interpreter (py-spy --gil; 32x32 JPEGs)
MOST_HELD = 0.25  # of its time: beyond that, threads wait for each other
WORTH_SECONDS = 60.0  # of computing: another process takes some ten to be ready


def processes_for(examples_per_second: float, lanes: int, inputs: int) -> int:
    """In all, that are worth their memory. Args: examples_per_second: of all lanes; 0: unknown."""
    if inputs < WORTH_SECONDS * examples_per_second:
        return 1
    held = INTERPRETER_SECONDS * examples_per_second
    return max(1, min(lanes, ceil(held / MOST_HELD)))


@contextmanager
def workers_of(predictor: Predictor, job: Job, folder: Path, inputs: int) -> Iterator[Workers]:
    """Threads of this process, or those of others, as these become ready."""
    lanes = predictor.lanes
    number = job.machine.processes or processes_for(predictor.examples_per_second, lanes, inputs)
    number = min(number, lanes)
    share = lanes // number
    # The same executor and batches: others would measure while this process computes.
    machine = replace(
        job.machine,
        threads=share,
        executor=predictor.executor_name,
        batch_size=predictor.batch_size,
        measure_seconds=0.0,
    )
    others = [_Process(replace(job, machine=machine), folder) for _ in range(number)]
    # While the one that is too many decodes, no lane waits for one that hands its results on.
    with Workers(predictor, lanes + 1) as workers:

        def join(other: _Process, replaced: int) -> None:
            try:
                connections = other.start(share)
            except (Lost, BatchError, RuntimeError) as error:
                if not other.ended:
                    logger.warning("one process less computes: %s", error)
                return
            for connection in connections:
                workers.add(_Remote(connection, predictor))
            workers.dismiss(replaced)

        starting = []
        if number > 1:
            for i, other in enumerate(others):
                replaced = share if i else share + 1
                starting.append(threading.Thread(target=join, args=(other, replaced)))
                starting[-1].start()
        try:
            yield workers
        finally:
            for other in others:
                other.end()
            for thread in starting:
                thread.join()


class Lost(Exception):
    """A process ended that was to compute."""


class _Process:
    def __init__(self, job: Job, folder: Path) -> None:
        self.ended = False
        self._opening = job, folder
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, threads: int) -> list[Connection]:
        """To each of its threads, once it is ready. Raises: Lost."""
        pipes = [Pipe() for _ in range(threads)]
        ours, theirs = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
        ends = [connection.fileno() for connection in theirs]
        with self._lock:
            if self.ended:
                raise Lost("the run has ended")
            # It imports what this process does: no file of the folder that it is started in.
            path = os.pathsep.join(map(os.path.abspath, sys.path))
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipelines.batch.worker_process", *map(str, ends)],
                env=os.environ | {"PYTHONPATH": path},
                pass_fds=ends,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is this process's
            )
        for connection in theirs:
            connection.close()
        ask(ours[0], self._opening)
        return ours

    def end(self) -> None:
        with self._lock:
            self.ended = True
            if self._child is not None:
                self._child.kill()
                self._child.wait()


class _Remote:
    """Tables computed by a thread of another process, or here, once that has ended."""

    def __init__(self, connection: Connection, predictor: Predictor) -> None:
        self._connection: Connection | None = connection
        self._predictor = predictor

    def __call__(self, table: pa.Table) -> pa.Table:
        if self._connection is not None:
            try:
                rows, seconds = ask(self._connection, table)
            except Lost as lost:
                logger.warning("%s: what it had is computed here", lost)
                self._connection = None
            else:
                self._predictor.account.add(**seconds)
                return rows
        return self._predictor(table)


def ask(connection: Connection, message: Any) -> Any:
    """Raises: Lost; BatchError if it cannot."""
    try:
        connection.send(message)
        answer = connection.recv()
    except (EOFError, OSError) as error:
        connection.close()
        raise Lost("a process of this run has ended, maybe for want of memory") from error
    if isinstance(answer, Exception):
        raise answer if isinstance(answer, BatchError) else RuntimeError(str(answer))
    return answer
