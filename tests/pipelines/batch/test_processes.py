import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pytest

from pipelines.batch.local import open_predictor
from pipelines.batch.options import Job
from pipelines.batch.processes import processes_for, workers_of
from pipelines.batch.reading import read
from pipelines.batch.sources import open_source
from pipelines.batch.workers import Workers
from serving.runtime.decoding import DEFAULT_LIMITS
from tests.pipelines.batch.conftest import MACHINE

LONG = 10**9  # inputs
LATEST_SECONDS = 60


@pytest.mark.parametrize(
    ("examples_per_second", "lanes", "processes"),
    [(3000, 2, 2), (360, 2, 1), (360 * 8, 16, 3), (24_000, 16, 16), (3000, 1, 1), (0, 2, 1)],
)
def test_as_many_as_their_interpreters_keep_up(
    examples_per_second: float, lanes: int, processes: int
) -> None:
    assert processes_for(examples_per_second, lanes, LONG) == processes
    assert processes_for(examples_per_second, lanes, 0) == 1  # which are done before it is ready


@pytest.fixture
def two(job: Job) -> Job:
    return replace(job, machine=replace(MACHINE, processes=2))


@pytest.fixture
def table(job: Job) -> pa.Table:
    """24 pictures, one of which cannot be read."""
    return read(list(open_source(job.given, "image").items()), DEFAULT_LIMITS)


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """Of a version that is this test's own."""
    return Path(shutil.copytree(models / "image" / "1", tmp_path / "image" / "1"))


def test_others_compute_the_same_rows_and_what_they_had_if_they_die(
    two: Job, table: pa.Table, folder: Path
) -> None:
    predictor = open_predictor(two, folder, 2)
    expected = predictor(table)
    account = predictor.account.seconds()
    with workers_of(predictor, two, folder, 0) as workers:
        assert _rows(workers, table) == expected  # of this process, as no other is ready yet
        _until(workers, 2, table)
        others = list(_children())
        assert len(others) == 2
        assert [_rows(workers, table) for _ in range(4)] == [expected] * 4
        assert predictor.account.seconds()["compute"] > account["compute"]
        for child in others:
            os.kill(child, signal.SIGKILL)
        assert [_rows(workers, table) for _ in range(4)] == [expected] * 4
    assert not list(_children())


def test_one_that_cannot_open_the_model_is_no_loss(
    two: Job, table: pa.Table, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = open_predictor(two, folder, 2)
    shutil.rmtree(folder)
    with workers_of(predictor, two, folder, 0) as workers:
        end = monotonic() + LATEST_SECONDS
        while len(caplog.records) < 2 and monotonic() < end:
            assert _rows(workers, table).num_rows == table.num_rows
        assert workers.number == predictor.lanes + 1


def test_a_process_ends_with_the_one_that_it_works_for() -> None:
    ours, theirs = Pipe()
    command = [sys.executable, "-m", "pipelines.batch.worker_process", str(theirs.fileno())]
    child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    theirs.close()
    ours.close()
    _, errors = child.communicate(timeout=LATEST_SECONDS)
    assert (child.returncode, errors) == (0, b"")


def test_the_surplus_goes_and_the_others_go_on() -> None:
    table = pa.table({"input": ["a"]})
    with Workers(lambda table: table, 3) as workers:
        workers.add(lambda table: table.append_column("other", pa.array(["b"])))
        workers.dismiss(3)
        while "other" not in _rows(workers, table).column_names:
            pass
        assert workers.number == 1
        assert all("other" in _rows(workers, table).column_names for _ in range(20))


def _rows(workers: Workers, table: pa.Table) -> pa.Table:
    given: Future[pa.Table] = Future()
    given.set_result(table)
    return workers.submit(given).result(LATEST_SECONDS)


def _until(workers: Workers, number: int, table: pa.Table) -> None:
    """The others are ready, and those of this process gone."""
    end = monotonic() + LATEST_SECONDS
    while workers.number != number and monotonic() < end:
        _rows(workers, table)
    assert workers.number == number


def _children() -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            command = status.with_name("cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if f"PPid:\t{os.getpid()}\n" in text and b"worker_process" in command:
            yield int(status.parent.name)
