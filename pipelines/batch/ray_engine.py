"""The engine of many machines: Ray Data hands out shards, actors that hold the model write them.

A shard is the unit: what goes over the network is its inputs' names and its counts, not files nor
rows. So order is kept, Ray holds back what no actor is free for, and a shard whose actor died is
made again by another: it is there whole, or not at all.

For pipelines of one's own, `Predictor` is a class that Ray Data's `map_batches` takes as it is.
"""

import itertools
import json
import logging
import os
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.batch.account import Account
from pipelines.batch.errors import BatchError
from pipelines.batch.events import Tally, examples_of
from pipelines.batch.formats import Counts, counts, encode
from pipelines.batch.local import chunk_rows, open_predictor, predict_all
from pipelines.batch.model import find_version
from pipelines.batch.options import Job
from pipelines.batch.reading import chunks
from pipelines.batch.shards import Output, folder_of, shard_name
from pipelines.batch.sources.item import Item
from pipelines.batch.storage import is_url
from pipelines.batch.workers import Workers

try:
    import ray
    from ray.data import ActorPoolStrategy
except ImportError as missing:
    raise BatchError(
        f"--engine ray needs the extra: pip install 'triptych[ray]' ({missing})"
    ) from None


class RayEngine:
    """Model, input and output must be where every machine of the cluster finds them."""

    def __init__(self, job: Job) -> None:
        maps = job.heat_maps
        self._job = replace(
            job,
            output=_everywhere(job.output),
            heat_maps=None if maps is None else _everywhere(maps),
        )
        self._folder, self.model, self.notes = find_version(job.model, job.repository)
        self.account = Account()

    def open(self, inputs: int) -> None:
        """To the cluster that RAY_ADDRESS names, or else to one that is started here."""
        if not ray.is_initialized():
            ray.init(logging_level="ERROR", log_to_driver=False)
        logging.getLogger("ray.data").setLevel("ERROR")
        ray.data.DataContext.get_current().enable_progress_bars = False

    def write(self, items: Iterator[Item], output: Output, tally: Tally) -> None:
        workers, threads = self._share()
        shards = [
            ray.put(pa.table({"shard": [shard], "items": [pickle.dumps(each)]}))
            for shard, each in _shards(items, self._job.shard_inputs)
            if shard not in output.done
        ]
        written = ray.data.from_arrow_refs(shards).map_batches(
            ShardWriter,
            fn_constructor_args=(self._job, self._folder, threads),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers),
            num_cpus=threads,
        )
        try:
            for row in written.iter_rows():
                self._take(row, output, tally)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise BatchError(
                f"Ray gave up ({str(cause).strip().splitlines()[-1]}): what is written stays, and "
                "the same command goes on"
            ) from error

    def _share(self) -> tuple[int, int]:
        """Actors, one a machine unless it is said, and the threads of each."""
        processors = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        processors = [number for number in processors if number]
        workers = self._job.machine.actors or len(processors)
        return workers, max(1, min(*processors, sum(processors) // workers))

    def _take(self, row: dict[str, Any], output: Output, tally: Tally) -> None:
        self.account.add(**json.loads(row["seconds"]))
        output.done.add(row["shard"])
        tally.advanced(
            row["inputs"], row["errors"], [tuple(pair) for pair in json.loads(row["examples"])]
        )
        labels = Counter(json.loads(row["labels"]))
        tally.wrote(output.name(row["shard"]), row["rows"], Counts(labels, row["errors"]))


class ShardWriter:
    """An actor: it opens the model once, and writes one shard after the other."""

    def __init__(self, job: Job, folder: Path, threads: int) -> None:
        self._job = job
        self._predictor = open_predictor(job, folder, threads)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = [
            self._write(shard, pickle.loads(items))
            for shard, items in zip(
                table["shard"].to_pylist(), table["items"].to_pylist(), strict=True
            )
        ]
        return pa.Table.from_pylist(rows)

    def _write(self, shard: int, items: list[Item]) -> dict[str, Any]:
        account = self._predictor.account = Account()
        with Workers([self._predictor] * self._predictor.lanes) as workers:
            results = predict_all(
                chunks(items, len(items), frozenset(), chunk_rows(self._predictor, self._job.rows)),
                workers,
                limits=self._job.machine.limits,
                account=account,
            )
            table = pa.concat_tables([rows for _, rows in results])
        with account.timed("write"):
            name = shard_name(shard, self._job.kind)
            folder_of(self._job.output).write(name, encode(table, self._job.kind))
        found = counts(table)
        return {
            "shard": shard,
            "inputs": len(items),
            "rows": table.num_rows,
            "errors": found.errors,
            "examples": json.dumps(examples_of(table)),
            "labels": json.dumps(found.labels),
            "seconds": json.dumps(account.seconds()),
        }


def _shards(items: Iterator[Item], size: int) -> Iterator[tuple[int, list[Item]]]:
    for shard in itertools.count():
        each = [_absolute(item) for item in itertools.islice(items, size)]
        if not each:
            return
        yield shard, each


def _absolute(item: Item) -> Item:
    """As the actors have a working directory of their own."""
    return item if item.path is None else item._replace(path=_everywhere(item.path))


def _everywhere(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)
