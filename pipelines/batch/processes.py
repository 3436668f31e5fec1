"""Processes that compute, beside this one, which reads and writes.

A long run's model is open in a process of its own: this one stays small, and an input that kills
what computes it is a row with its reason. An interpreter runs one thread at a time, and each input
takes its share of it, whatever the network, so that one process keeps two processors busy with a
large network, and not with a small one. Then there are as many as that takes.
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
from typing import Any, NamedTuple

import pyarrow as pa

from pipelines.batch.account import Account
from pipelines.batch.errors import BatchError
from pipelines.batch.options import Job
from pipelines.batch.workers import Workers
from serving.runtime.threads import thread_budget

logger = logging.getLogger(__name__)

INTERPRETER_SECONDS = 0.2e-3  # that an input holds the interpreter (py-spy --gil; 32x32 JPEGs)
MOST_HELD = 0.25  # of its time: beyond that, threads wait for each other
WORTH_SECONDS = 30.0  # of computing: another process takes a few to be ready
LONG = 10_000  # inputs, for which a process of its own is started at all


class Opened(NamedTuple):
    """What a process says of the model that it has opened."""

    lanes: int
    batch_size: int
    examples_per_second: float
    executor_name: str


def is_apart(job: Job, inputs: int) -> bool:
    """Whether others compute, and not this process itself."""
    if job.machine.processes is None:
        return inputs >= LONG
    return job.machine.processes > 1


def processes_for(examples_per_second: float, lanes: int, inputs: int) -> int:
    """That are worth their memory. Args: examples_per_second: of all lanes; 0: unknown."""
    if inputs < WORTH_SECONDS * examples_per_second:
        return 1
    held = INTERPRETER_SECONDS * examples_per_second
    return max(1, min(lanes, ceil(held / MOST_HELD)))


class Crew:
    """The processes of one run.

    Raises: BatchError if the model cannot be opened.
    """

    def __init__(self, job: Job, folder: Path, inputs: int, account: Account) -> None:
        self._job, self._folder, self._account = job, folder, account
        self._careful = threading.Lock()
        self._changing = threading.Lock()
        self._ended = False
        threads = job.machine.threads or thread_budget()
        # One more than lanes: while it decodes, none of them waits for who hands its results on.
        first = _Process(job, folder, threads + 1)
        self._all = [first]
        try:
            self.opened = first.start()
            lanes = self.opened.lanes
            wanted = job.machine.processes or processes_for(
                self.opened.examples_per_second, lanes, inputs
            )
            number = min(wanted, lanes)
            if number > 1:
                first.open(self._with_threads(lanes // number))
        except BaseException:
            self.end()
            raise
        self._of_each = lanes // number if number > 1 else lanes + 1
        for _ in range(number - 1):
            self._all.append(_Process(self._with_threads(self._of_each), folder, self._of_each))

    def _with_threads(self, threads: int) -> Job:
        """The same executor and batches: others would measure while this run computes."""
        machine = replace(
            self._job.machine,
            threads=threads,
            executor=self.opened.executor_name,
            batch_size=self.opened.batch_size,
            measure_seconds=0.0,
        )
        return replace(self._job, machine=machine)

    @contextmanager
    def workers(self) -> Iterator[Workers]:
        """Those of the first process, and of the others as soon as they are ready."""

        def join(process: _Process) -> None:
            try:
                process.start()
            except (BatchError, RuntimeError) as error:
                if not process.ended:
                    logger.warning("one process less computes: %s", error)
                return
            for i in range(self._of_each):
                workers.add(_Remote(self, process, i))

        first, *others = self._all
        starting = [threading.Thread(target=join, args=(other,)) for other in others]
        with Workers(_Remote(self, first, i) for i in range(self._of_each)) as workers:
            for thread in starting:
                thread.start()
            try:
                yield workers
            finally:
                self.end()
                for thread in starting:
                    thread.join()

    def end(self) -> None:
        with self._changing:
            self._ended = True
        for process in self._all:  # to which none is added any more
            process.end()

    def rows(self, process: "_Process", thread: int, table: pa.Table) -> pa.Table:
        try:
            return self._counted(process.ask(thread, table))
        except Lost as lost:
            logger.warning("%s: what it had is computed again", lost)
        # Others' inputs may have ended it: those of a process that has no others tell.
        with self._careful:
            alone = _Process(self._with_threads(1), self._folder, 1)
            with self._changing:
                if self._ended:
                    raise BatchError("the run has ended")
                self._all.append(alone)
            try:
                return self._one_by_one(alone, table)
            finally:
                alone.end()

    def _one_by_one(self, alone: "_Process", table: pa.Table) -> pa.Table:
        try:
            return self._counted(alone.ask(0, table))
        except Lost:
            rows = [table.slice(i, 1) for i in range(table.num_rows)]
            return pa.concat_tables([self._one(alone, row) for row in rows])

    def _one(self, alone: "_Process", row: pa.Table) -> pa.Table:
        try:
            return self._counted(alone.ask(0, row))
        except Lost as lost:
            refused = row.select(["input", "data"]).append_column("error", pa.array([str(lost)]))
            return self._counted(alone.ask(0, refused))

    def _counted(self, answer: tuple[pa.Table, dict[str, float]]) -> pa.Table:
        rows, seconds = answer
        self._account.add(**seconds)
        return rows


class Lost(Exception):
    """A process ended that was to compute."""


class _Process:
    """Started again by who finds it dead, and then by nobody but `end`."""

    def __init__(self, job: Job, folder: Path, threads: int) -> None:
        self.ended = False
        self._job, self._folder, self._threads = job, folder, threads
        self._child: subprocess.Popen[bytes] | None = None
        self._connections: list[Connection] = []
        self._starting = threading.Lock()
        self._ending = threading.Lock()

    def ask(self, thread: int, table: pa.Table) -> Any:
        """The rows of a table, and the seconds that they took. Raises: Lost; BatchError."""
        with self._starting:
            if not self._connections:
                self._start()
            connection, child = self._connections[thread], self._child
        try:
            return _ask(connection, table)
        except (EOFError, OSError) as error:
            with self._starting:
                if self._child is child:
                    self._connections = []
            if self.ended:
                raise BatchError("the run has ended") from error
            assert child is not None
            raise Lost(f"the process that computed it ended{_reason(child)}") from error

    def start(self) -> Opened:
        """Raises: BatchError."""
        with self._starting:
            return self._start()

    def open(self, job: Job) -> Opened:
        """Another job in place of its own."""
        self._job = job
        with self._starting:
            return self._open()

    def _start(self) -> Opened:
        pipes = [Pipe() for _ in range(self._threads)]
        theirs = [pipe[1] for pipe in pipes]
        ends = [connection.fileno() for connection in theirs]
        with self._ending:
            if self.ended:
                raise BatchError("the run has ended")
            if self._child is not None:
                self._child.kill()
                self._child.wait()
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
        self._connections = [pipe[0] for pipe in pipes]
        return self._open()

    def _open(self) -> Opened:
        try:
            opened: Opened = _ask(self._connections[0], (self._job, self._folder))
            return opened
        except (EOFError, OSError) as error:
            assert self._child is not None
            raise BatchError(
                f"the process that opened the model ended{_reason(self._child)}: "
                "--processes 1 does with one, and less memory"
            ) from error

    def end(self) -> None:
        with self._ending:
            self.ended = True
            if self._child is not None:
                self._child.kill()
                self._child.wait()


class _Remote:
    """One thread's tables, computed by another process's thread of the same number."""

    def __init__(self, crew: Crew, process: _Process, thread: int) -> None:
        self._crew, self._process, self._thread = crew, process, thread

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._crew.rows(self._process, self._thread, table)


def _ask(connection: Connection, message: Any) -> Any:
    """Raises: EOFError, OSError if nobody is there; what the other end answers, if that is an
    error: BatchError, or RuntimeError for what is a mistake of ours."""
    connection.send(message)
    answer = connection.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _reason(child: "subprocess.Popen[bytes]") -> str:
    """Once its connections are closed, it ends itself, if it has not yet."""
    code = child.wait()
    if code == -9:
        return " (signal 9, maybe for want of memory)"
    return f" (signal {-code})" if code < 0 else f" (exit code {code})"
