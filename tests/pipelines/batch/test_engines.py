"""The engines hold the same rows: this machine's threads, and a running server.

Ray's are in test_ray_engine.py.
"""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch import remote
from pipelines.batch.errors import BatchError
from pipelines.batch.job import run
from pipelines.batch.options import Job, Rows
from pipelines.batch.remote import RemoteVersion, Server
from serving.runtime.decoding import DEFAULT_LIMITS
from serving.server import Server as RunningServer
from serving.settings import Settings
from tests.pipelines.batch.conftest import DOMAINS, MACHINE
from tests.serving.server_fixtures import DEFAULTS


@contextmanager
def serving(repository: Path, **options: object) -> Iterator[str]:
    """A server on a loop of its own, in a thread; its address."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as thread:
        server = RunningServer(Settings(repository=repository, **{**DEFAULTS, **options}))
        ready = thread.submit(runner.run, server.start()).result()
        ended = thread.submit(runner.run, ended_by(end := threading.Event()))
        try:
            yield f"localhost:{ready.grpc_port}"
        finally:
            end.set()
            ended.result()
            thread.submit(runner.run, server.stop()).result()


async def ended_by(end: threading.Event) -> None:
    await asyncio.to_thread(end.wait)


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    with serving(models, max_queue_size=40) as address:  # shorter than what is sent
        yield address


@pytest.fixture(scope="module")
def scanning(scanner: Path) -> Iterator[str]:
    with serving(scanner) as address:
        yield address


def job_of(domain: str, models: Path, inputs: Path, output: Path) -> Job:
    return Job(
        domain,
        str(inputs / domain),
        str(output),
        repository=models,
        shard_inputs=10,
        rows=Rows(top_k=2, all_scores=True),
        machine=MACHINE,
    )


def require_same(one: pa.Table, other: pa.Table) -> None:
    assert one.schema.equals(other.schema, check_metadata=True)
    computed = {"scores", "all_scores", "embedding"} & set(one.column_names)
    for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True):
        for name in a:
            if name in computed:
                np.testing.assert_allclose(a[name] or [], b[name] or [], atol=1e-6)
            else:
                assert a[name] == b[name]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_servers_rows_are_the_local_ones(
    domain: str, models: Path, inputs: Path, address: str, tmp_path: Path
) -> None:
    job = job_of(domain, models, inputs, tmp_path / "local")
    local = run(job)
    served = run(replace(job, output=str(tmp_path / "served"), server=address))
    assert (served.labels, served.errors) == (local.labels, local.errors) == (local.labels, 1)
    require_same(pq.read_table(tmp_path / "local"), pq.read_table(tmp_path / "served"))


def test_a_run_goes_on_with_another_engine(
    models: Path, inputs: Path, address: str, tmp_path: Path
) -> None:
    job = job_of("image", models, inputs, tmp_path / "out")
    run(job)
    before = pq.read_table(tmp_path / "out")
    (tmp_path / "out" / "part-000001.parquet").unlink()
    assert run(replace(job, server=address)).new_inputs == 10
    require_same(before, pq.read_table(tmp_path / "out"))


def test_requests_of_nothing_but_bad_inputs(models: Path, address: str, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for i in range(20):
        (tmp_path / "bad" / f"{i:02}.png").write_bytes(b"junk %d" % i)
    job = job_of("image", models, tmp_path, tmp_path / "out")
    run(replace(job, given=str(tmp_path / "bad"), server=address))
    errors = pq.read_table(tmp_path / "out")["error"].to_pylist()
    assert len(errors) == 20
    assert all(f"'junk {i}" in error for i, error in enumerate(errors))


def test_what_is_too_large_for_the_server_is_a_row(models: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    for i, size in enumerate((10, 3000, 20, 4000)):
        (tmp_path / "mixed" / f"{i}.txt").write_text("a" * size)
    job = job_of("text", models, tmp_path, tmp_path / "out")
    with serving(models, max_request_bytes=2048) as address:
        run(replace(job, given=str(tmp_path / "mixed"), server=address))
    errors = pq.read_table(tmp_path / "out")["error"].to_pylist()
    assert [error is None for error in errors] == [True, False, True, False]
    assert "larger than max" in errors[1]


def test_no_server(job: Job) -> None:
    with pytest.raises(BatchError, match="does not answer"):
        run(replace(job, server="localhost:1"))


PARTS = {
    "audio": [Rows(window=0.02, hop=0.01), Rows(window=0.02, with_events=True)],
    "text": [Rows(window=6, hop=4, all_scores=True), Rows(window=6, with_events=True)],
    "image": [Rows(tiles=True, all_scores=True)],
    "scan": [Rows(embed=True), Rows(tiles=True, embed=True), Rows(dense=True)],
}


@pytest.mark.parametrize(
    ("model", "rows"), [(model, rows) for model, each in PARTS.items() for rows in each]
)
def test_parts_and_embeddings_are_the_local_ones(
    model: str,
    rows: Rows,
    models: Path,
    scanner: Path,
    inputs: Path,
    address: str,
    scanning: str,
    tmp_path: Path,
) -> None:
    domain = "image" if model == "scan" else model
    repository = scanner if model == "scan" else models
    job = job_of(domain, repository, inputs, tmp_path / "local")
    maps = {"heat_maps": str(tmp_path / "maps")} if rows.tiles or rows.dense else {}
    job = replace(job, model=model, rows=rows, **maps)
    run(job)
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "maps").glob("*")}
    for path in (tmp_path / "maps").glob("*"):
        path.unlink()
    server = scanning if model == "scan" else address
    run(replace(job, output=str(tmp_path / "served"), server=server))
    local, served = pq.read_table(tmp_path / "local"), pq.read_table(tmp_path / "served")
    assert local.num_rows >= 24
    require_same(local, served)
    assert drawn.keys() == {path.name for path in (tmp_path / "maps").glob("*")}
    assert bool(drawn) == bool(maps)


def test_a_server_that_goes_while_it_computes_parts(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)
    with serving(models) as address:
        server = Server(address)
        version = RemoteVersion(server, *server.find("image"), DEFAULT_LIMITS)
        assert version.has("predict")
        assert not version.has("embed")
    with pytest.raises(BatchError, match="does not answer"):
        version.preprocess(np.zeros((8, 8, 3), np.uint8))


def test_a_server_without_the_endpoint(job: Job, address: str) -> None:
    with pytest.raises(BatchError, match="export it again"):
        run(replace(job, rows=Rows(embed=True), server=address))


def test_no_such_model(job: Job, address: str) -> None:
    with pytest.raises(BatchError, match="nothing"):
        run(replace(job, model="nothing", server=address))
