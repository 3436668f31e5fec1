"""Ray, on a real cluster of two nodes on this machine: the rows of the local engine, and what
happens to them when a worker dies.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch.events import Event, Wrote
from pipelines.batch.job import run
from pipelines.batch.options import Job, Rows
from pipelines.batch.predictor import Predictor
from pipelines.batch.reading import read
from pipelines.batch.sources import open_source
from serving.runtime.decoding import DEFAULT_LIMITS
from tests.pipelines.batch.conftest import DOMAINS, MACHINE, OPENING, large_pictures

ROWS = {
    "image": Rows(top_k=2, all_scores=True),
    "audio": Rows(window=0.02, hop=0.01, with_events=True),
    "text": Rows(window=6, hop=4),
}
pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # of Ray's there are many


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Of two nodes with a processor each."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        yield
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize("domain", DOMAINS)
def test_rows_are_the_local_ones(
    domain: str, models: Path, inputs: Path, tmp_path: Path, cluster: None
) -> None:
    """By `--engine ray`, and by Ray Data with the predictor as it is."""
    import ray

    rows = ROWS[domain]
    job = Job(
        domain,
        str(inputs / domain),
        str(tmp_path / "local"),
        repository=models,
        shard_inputs=5,
        rows=rows,
        machine=MACHINE,
    )
    run(job)
    wanted = pq.read_table(tmp_path / "local")
    summary = run(replace(job, output=str(tmp_path / "ray"), engine="ray"))
    assert (summary.inputs, summary.errors) == (24, 1)
    require_same(wanted, pq.read_table(tmp_path / "ray"))

    given = read(list(open_source(job.given, domain).items()), DEFAULT_LIMITS)
    options = {"repository": models, "threads": 1, **asdict(rows), **OPENING}
    mapped = ray.data.from_arrow(given).map_batches(
        Predictor,
        fn_constructor_args=(domain,),
        fn_constructor_kwargs=options,
        batch_format="pyarrow",
        batch_size=7,
        concurrency=1,
    )
    found = pa.concat_tables(ray.get(mapped.to_arrow_refs()))
    wanted_names = wanted["input"].to_pylist()
    places = sorted(range(len(found)), key=lambda i: wanted_names.index(found["input"][i].as_py()))
    require_same(wanted, found.take(places))


def require_same(wanted: pa.Table, found: pa.Table) -> None:
    assert found.schema.names == wanted.schema.names
    for a, b in zip(wanted.to_pylist(), found.to_pylist(), strict=True):
        for name in a:
            if name in ("scores", "all_scores"):
                np.testing.assert_allclose(a[name] or [], b[name] or [], atol=1e-6)
            else:
                assert a[name] == b[name]


def test_a_worker_that_is_killed_costs_nothing(job: Job, tmp_path: Path, cluster: None) -> None:
    large_pictures(tmp_path / "large", 120, 1000)
    job = replace(job, given=str(tmp_path / "large"), shard_inputs=4)
    run(job)
    killed = []

    def kill(event: Event) -> None:
        if isinstance(event, Wrote) and not killed:
            killed.extend(actors())
            os.kill(killed[0], signal.SIGKILL)

    summary = run(replace(job, output=f"{job.output}-ray", engine="ray"), kill)
    assert len(killed) == 2  # one on each node
    assert summary.inputs == 120
    assert pq.read_table(f"{job.output}-ray").equals(pq.read_table(job.output))


def actors() -> list[int]:
    """Their processes' numbers, of those that descend from this one."""
    found = []
    waiting = [os.getpid()]
    while waiting:
        parent = Path(f"/proc/{waiting.pop()}")
        try:
            tasks = [(task / "children").read_text() for task in (parent / "task").iterdir()]
            name = (parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        waiting += [int(child) for child in " ".join(tasks).split()]
        if b"ShardWriter" in name:
            found.append(int(parent.name))
    return found
