"""An object store: a real S3 server on this machine, found by the usual variable."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from pipelines.batch.errors import BatchError
from pipelines.batch.job import run
from pipelines.batch.options import Job
from pipelines.batch.storage import _filesystem, resolve


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, inputs: Path) -> Iterator[str]:
    """With what is in `inputs`; its URL."""
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    for path in sorted(inputs.rglob("*.*")):
        key = path.relative_to(inputs).as_posix().replace("03", "a name+with %20 & ü")
        client.upload_file(str(path), "data", key)
    client.put_object(Bucket="data", Key="all.lst", Body=b"image/01.png\n../x\nimage/none.png\n")
    _filesystem.cache_clear()
    yield "s3://data"
    server.stop()
    _filesystem.cache_clear()


def rows(output: str) -> list[dict]:
    files, place = resolve(output)
    return pq.read_table(place, filesystem=files).to_pylist()


def test_a_bucket_in_a_bucket_out(bucket: str, job: Job) -> None:
    run(job)
    wanted = {Path(row["input"]).name: row["labels"] for row in rows(job.output)}
    remote = replace(job, given=f"{bucket}/image", output=f"{bucket}/labels")
    summary = run(remote)
    assert (summary.inputs, summary.errors) == (24, 1)
    found = rows(remote.output)
    assert found[0]["input"] == f"{bucket}/image/00.png"
    names = [Path(row["input"]).name.replace("a name+with %20 & ü", "03") for row in found]
    assert dict(zip(names, (row["labels"] for row in found), strict=True)) == wanted
    files, place = resolve(remote.output)
    files.delete_file(f"{place}/part-000001.parquet")
    assert run(remote).new_inputs == 5
    assert rows(remote.output) == found
    with pytest.raises(BatchError, match="given was"):
        run(replace(remote, given=f"{bucket}/image/*"))


def test_patterns_and_lists_of_a_bucket(bucket: str, job: Job) -> None:
    run(replace(job, given=f"{bucket}/image/1*.png"))
    assert [row["input"][-6:] for row in rows(job.output)] == [f"{i}.png" for i in range(10, 20)]
    job = replace(job, given=f"{bucket}/all.lst", output=f"{job.output}-2")
    run(job)
    first, second, third = rows(job.output)
    assert first["error"] is None
    assert "outside of" in second["error"]
    assert "no such file" in third["error"]
