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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch.account import Account
from pipelines.batch.errors import BatchError
from pipelines.batch.job import run
from pipelines.batch.local import open_predictor
from pipelines.batch.options import Job
from pipelines.batch.processes import LONG, Crew, is_apart, processes_for
from pipelines.batch.reading import read
from pipelines.batch.sources import open_source
from pipelines.batch.workers import Workers
from serving.runtime.decoding import DEFAULT_LIMITS
from tests.pipelines.batch.conftest import MACHINE
from tests.serving.conftest import png

LATEST_SECONDS = 60


@pytest.mark.parametrize(
    ("examples_per_second", "lanes", "processes"),
    [(3000, 2, 2), (360, 2, 1), (360 * 8, 16, 3), (24_000, 16, 16), (3000, 1, 1), (0, 2, 1)],
)
def test_as_many_as_their_interpreters_keep_up(
    examples_per_second: float, lanes: int, processes: int
) -> None:
    assert processes_for(examples_per_second, lanes, 10**9) == processes
    assert processes_for(examples_per_second, lanes, 0) == 1  # which are done before it is ready


@pytest.fixture
def two(job: Job) -> Job:
    return replace(job, machine=replace(MACHINE, processes=2))


@pytest.fixture
def table(job: Job) -> pa.Table:
    """24 pictures, one of which cannot be read."""
    return read(list(open_source(job.given, "image").items()), DEFAULT_LIMITS)


def test_long_runs_are_computed_apart_and_short_ones_here(job: Job, two: Job) -> None:
    one = replace(job, machine=replace(MACHINE, processes=1))
    assert [is_apart(each, LONG) for each in (job, one, two)] == [True, False, True]
    assert not is_apart(job, LONG - 1)


def test_others_compute_the_same_rows_and_again_what_they_had_if_they_die(
    two: Job, table: pa.Table, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = open_predictor(two, models / "image" / "1", 2)(table)
    account = Account()
    capfd.readouterr()
    crew = Crew(two, models / "image" / "1", 0, account)
    with crew.workers() as workers:
        assert _rows(workers, table) == expected
        _until(workers, 2, table)
        others = list(_children())
        assert len(others) == 2
        assert [_rows(workers, table) for _ in range(4)] == [expected] * 4
        assert account.seconds()["compute"] > 0
        for child in others:
            os.kill(child, signal.SIGKILL)
        assert _rows(workers, table) == expected
        assert workers.number == 2
    assert not list(_children())
    assert "oneDNN" not in capfd.readouterr().err  # which would be in the midst of a progress bar


def test_a_run_outlives_an_input_that_kills_and_all_others_have_their_rows(
    job: Job, two: Job, inputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a fault of a library would; the others' Pillow has one, of pictures of 5 x 61."""
    run(job)
    expected = pq.read_table(job.output).to_pylist()
    given = Path(shutil.copytree(inputs / "image", tmp_path / "given"))
    (given / "10a.png").write_bytes(png(np.zeros((61, 5, 3), np.uint8)))
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    monkeypatch.syspath_prepend(tmp_path)
    run(replace(two, given=str(given), output=str(tmp_path / "all"), shard_inputs=100))
    rows = pq.read_table(tmp_path / "all").to_pylist()
    for row in (*rows, *expected):
        row["input"] = Path(row["input"]).name
    (one,) = (row for row in rows if row["input"] == "10a.png")
    assert [row for row in rows if row is not one] == expected
    assert (one["labels"], one["error"]) == (None, "the process that computed it ended (signal 11)")


# A fault of this very thread: a signal from `os.kill` may find another one, and this one go on.
FAULT = """
import ctypes
from PIL import Image

load = Image.Image.load

def read(picture):
    if picture.size == (5, 61):
        ctypes.string_at(0)
    return load(picture)

Image.Image.load = read
"""


def test_a_model_that_cannot_be_opened_ends_the_run_before_it_began(
    two: Job, models: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(models / "image" / "1", tmp_path / "image" / "1"))
    (broken / "saved_model.pb").write_bytes(b"")
    with pytest.raises(BatchError, match=r"saved_model\.pb"):
        Crew(two, broken, 0, Account())
    assert not list(_children())


def test_one_that_cannot_open_the_model_is_no_loss(
    two: Job, table: pa.Table, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(models / "image" / "1", tmp_path / "image" / "1"))
    crew = Crew(two, folder, 0, Account())
    shutil.rmtree(folder)
    with crew.workers() as workers:
        end = monotonic() + LATEST_SECONDS
        while not caplog.records and monotonic() < end:
            assert _rows(workers, table).num_rows == table.num_rows
        assert workers.number == 1


def test_a_process_ends_with_the_one_that_it_works_for() -> None:
    ours, theirs = Pipe()
    command = [sys.executable, "-m", "pipelines.batch.worker_process", str(theirs.fileno())]
    child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    theirs.close()
    ours.close()
    _, errors = child.communicate(timeout=LATEST_SECONDS)
    assert (child.returncode, errors) == (0, b"")


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
