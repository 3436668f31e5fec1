"""A run that is killed at any moments, and again: in the end the rows of one that was not."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.batch.options import Job
from tests.pipelines.batch.conftest import large_pictures
from tests.pipelines.batch.killed import start

PATIENCE_SECONDS = 120.0


@pytest.mark.parametrize(
    ("kills", "seed"), [(5, 0), pytest.param(20, 1, marks=pytest.mark.full)], ids=["5", "20"]
)
def test_kill_9(kills: int, seed: int, job: Job, tmp_path: Path) -> None:
    large_pictures(tmp_path / "large", 120, 500)
    job = replace(job, given=str(tmp_path / "large"), shard_inputs=2)
    whole = replace(job, output=f"{job.output}-whole")
    began = time.monotonic()
    ended(whole)
    needed = time.monotonic() - began
    wanted = pq.read_table(whole.output)
    assert wanted.num_rows == 120

    rng = random.Random(seed)
    out = Path(job.output)
    killed = 0
    done = []
    while killed < kills:
        process = start(job)
        process.join(rng.uniform(0, needed))
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        done.append(len(list(out.glob("part-*"))))
        for part in out.glob("part-*"):
            assert pq.read_table(part).num_rows == 2  # whole, whatever it is seen at
        if done[-1] == 60:  # from the beginning, then
            assert pq.read_table(out).equals(wanted)
            out = Path(f"{job.output}-{killed}")
            job = replace(job, output=str(out))
    assert len(set(done)) > 1  # some were killed in the midst of it
    ended(job)
    found = pq.read_table(out)
    assert found["input"].to_pylist() == sorted(found["input"].to_pylist())
    assert found.equals(wanted)
    assert not list(out.glob(".tmp*"))


def ended(job: Job) -> None:
    process = start(job)
    process.join(PATIENCE_SECONDS)
    assert process.exitcode == 0
