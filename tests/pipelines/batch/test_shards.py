"""OUTPUT: what goes on, what is refused, and that nothing is lost by either."""

import csv
import json
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch.errors import BatchError
from pipelines.batch.events import Advanced, Event, Wrote
from pipelines.batch.job import run
from pipelines.batch.options import Job, Rows
from pipelines.batch.shards import Output
from tests.serving.conftest import Tiny


def test_what_is_missing_is_made_and_nothing_else(job: Job) -> None:
    whole = run(job)
    out = Path(job.output)
    before = pq.read_table(out)
    assert before.num_rows == whole.inputs == 24
    kept = (out / "part-000000.parquet").stat().st_mtime_ns
    (out / "part-000002.parquet").unlink()
    (out / ".tmp-0-part-000001.parquet").write_bytes(b"half")
    events = []
    again = run(job, events.append)
    assert [e.shard for e in events if isinstance(e, Wrote)] == ["part-000002.parquet"]
    assert pq.read_table(out).equals(before)
    assert (out / "part-000000.parquet").stat().st_mtime_ns == kept
    assert sorted(p.name for p in out.iterdir() if p.name.startswith(".tmp")) == []
    assert again.new_inputs == 5
    assert (again.labels, again.errors) == (whole.labels, whole.errors)
    assert run(job).new_inputs == 0


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_other_formats_hold_the_same(job: Job, kind: str) -> None:
    rows = replace(job.rows, all_scores=True, top_k=2)
    parquet = run(replace(job, output=f"{job.output}-p", rows=rows))
    wanted = pq.read_table(f"{job.output}-p").to_pylist()
    job = replace(job, kind=kind, rows=rows)
    assert run(job).labels == parquet.labels
    assert run(job).errors == parquet.errors == 1  # counted from the files this time
    text = "".join(p.read_text() for p in sorted(Path(job.output).glob(f"part-*.{kind}")))
    if kind == "jsonl":
        found = [json.loads(line) for line in text.splitlines()]
    else:
        lines = [line for line in csv.reader(text.splitlines()) if line[0] != "input"]
        found = [
            {
                "input": line[0],
                "labels": line[1:3] if not line[-1] else None,
                "scores": [float(x) for x in line[3:5]] if not line[-1] else None,
                "all_scores": [float(x) for x in line[5:-1]] if not line[-1] else None,
                "error": line[-1] or None,
            }
            for line in lines
        ]
    # The same float32, though written in fewer digits.
    schema = pq.read_schema(f"{job.output}-p/part-000000.parquet").remove_metadata()
    assert pa.Table.from_pylist(found, schema).to_pylist() == wanted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": Rows(top_k=3)}, "options: top_k was 5 and is 3"),
        ({"limit": 3}, "limit was null and is 3"),
        ({"shard_inputs": 6}, "shard_inputs was 5 and is 6"),
    ],
)
def test_other_options_are_refused(job: Job, change: dict, reason: str) -> None:
    run(job)
    before = pq.read_table(job.output)
    with pytest.raises(BatchError, match=reason):
        run(replace(job, **change))
    assert pq.read_table(job.output).equals(before)


def test_another_model_is_refused(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    tiny.publish(tmp_path, "image")
    job = replace(job, repository=tmp_path)
    run(job)
    tiny.publish(tmp_path, "image", 2, seed=1)
    with pytest.raises(BatchError, match=r"version was 1 and is 2.*version folder as MODEL"):
        run(job)
    assert run(replace(job, model=str(tmp_path / "image" / "1"))).new_inputs == 0


def test_another_input_is_refused(job: Job, tmp_path: Path) -> None:
    (tmp_path / "few.lst").write_text(f"{job.given}/01.png\n{job.given}/02.png\n")
    job = replace(job, given=str(tmp_path / "few.lst"), root="/")
    run(job)
    (tmp_path / "few.lst").write_text(f"{job.given}/01.png\n")
    with pytest.raises(BatchError, match="inputs was 2 and is 1; what it holds has changed"):
        run(job)


def test_a_folder_of_something_else_is_left_alone(job: Job) -> None:
    Path(job.output).mkdir()
    (Path(job.output) / "thesis.doc").write_text("all I have")
    with pytest.raises(BatchError, match=r"thesis\.doc"):
        run(job)
    assert (Path(job.output) / "thesis.doc").read_text() == "all I have"


def test_one_run_at_a_time(job: Job) -> None:
    first = Output(job.output, "parquet", {"model": {}, "input": {}, "options": {}}, 1, 1)
    with pytest.raises(BatchError, match="another run"):
        run(job)
    first.close()


def test_no_folder_can_be_made(job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BatchError, match="cannot be written: Not a directory"):
        run(replace(job, output=str(tmp_path / "file" / "out")))


def test_a_read_only_folder(job: Job) -> None:
    """/proc, where not even root makes one."""
    with pytest.raises(BatchError, match=r"cannot be written: .*same command goes on"):
        run(replace(job, output="/proc/self/out"))


def test_a_full_disk_loses_nothing(job: Job) -> None:
    """No file may grow beyond 100 bytes: an error of the same kind, at the same place."""
    run(replace(job, output=f"{job.output}-whole"))
    run(job)
    out = Path(job.output)
    (out / "part-000003.parquet").unlink()
    before = {path: path.read_bytes() for path in out.iterdir()}
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event: Event) -> None:
        if isinstance(event, Advanced):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))

    try:
        with pytest.raises(BatchError, match=r"File too large.*the same command goes on"):
            run(job, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert run(job).new_inputs == 5
    assert pq.read_table(out).equals(pq.read_table(f"{job.output}-whole"))


def test_a_damaged_shard_is_told(job: Job) -> None:
    run(job)
    (Path(job.output) / "part-000001.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(BatchError, match=r"part-000001\.parquet.*remove it"):
        run(job)


def test_too_many_errors_end_it(job: Job) -> None:
    with pytest.raises(BatchError, match=r"1 inputs.*0 are allowed.*05\.png: not a picture"):
        run(replace(job, max_errors=0))
    assert run(replace(job, max_errors=1)).errors == 1


def test_no_inputs(job: Job, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BatchError, match="has no inputs"):
        run(replace(job, given=str(tmp_path / "empty")))
