"""The engine of one machine: reading, decoding, computing and writing overlap, in threads.

What takes long lets go of the interpreter's lock: files, Pillow, soundfile, TensorFlow, OpenVINO.
A worker does whatever is next of its chunk, decode or compute, so that no processor waits for the
slower of two stages, whichever that is for this model. A long run's are in other processes, which
is the matter of `processes.py`.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipelines.batch.account import Account
from pipelines.batch.events import Tally, examples_of
from pipelines.batch.formats import counts, encode
from pipelines.batch.model import find_version
from pipelines.batch.options import Job, Rows
from pipelines.batch.predictor import Predictor
from pipelines.batch.processes import Crew, Opened, is_apart
from pipelines.batch.reading import Chunk, chunks, read
from pipelines.batch.shards import Output
from pipelines.batch.sources.item import Item
from pipelines.batch.workers import Workers
from serving.runtime.decoding import Limits

READERS = 8  # threads: of a disk, or of an object store that takes its time
CHUNK_ROWS = 64  # which are computed together where they have one shape
CHUNK_SECONDS = 0.15  # of a lane's computing, where that are fewer
CHUNK_BATCHES = 4  # at least


class LocalEngine:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder, self.model, self.notes = find_version(job.model, job.repository)
        self.account = Account()
        self._computes: Predictor | Crew

    def open(self, inputs: int) -> None:
        if is_apart(self._job, inputs):
            self._computes = Crew(self._job, self._folder, inputs, self.account)
        else:
            self._computes = open_predictor(self._job, self._folder, self._job.machine.threads)
            self._computes.account = self.account

    def write(self, items: Iterator[Item], output: Output, tally: Tally) -> None:
        opened = self._computes.opened if isinstance(self._computes, Crew) else self._computes
        rows = chunk_rows(opened, self._job.rows)
        with self._workers() as workers:
            results = predict_all(
                chunks(items, self._job.shard_inputs, frozenset(output.done), rows),
                workers,
                limits=self._job.machine.limits,
                account=self.account,
            )
            write_shards(results, output, tally, self.account)

    def _workers(self) -> AbstractContextManager[Workers]:
        if isinstance(self._computes, Crew):
            return self._computes.workers()
        # While the one that is too many decodes, no lane waits for one that hands its results on.
        return Workers([self._computes] * (self._computes.lanes + 1))


def open_predictor(job: Job, folder: Path, threads: int | None) -> Predictor:
    machine = replace(job.machine, threads=threads)
    return Predictor.on(machine, folder, job.rows, heat_maps=job.heat_maps)


def chunk_rows(opened: Predictor | Opened, asked: Rows) -> int:
    """Enough for batches of one shape, and so few that none waits long for the last of a run."""
    if asked.dense:
        return 1  # each is many rows, and computed by itself
    rows = CHUNK_ROWS
    if opened.examples_per_second:
        rows = min(rows, round(CHUNK_SECONDS * opened.examples_per_second / opened.lanes))
    return max(rows, CHUNK_BATCHES * opened.batch_size)


def predict_all(
    chunks: Iterable[Chunk],
    workers: Workers,
    *,
    limits: Limits,
    account: Account,
) -> Iterator[tuple[Chunk, pa.Table]]:
    """Each chunk with its rows, in order. What is in memory is bounded, whatever comes."""

    def reading(chunk: Chunk) -> pa.Table:
        with account.timed("read"):
            return read(chunk.items, limits)

    pending: deque[tuple[Chunk, Future[pa.Table]]] = deque()
    readers = ThreadPoolExecutor(READERS, "read")
    try:
        for chunk in chunks:
            pending.append((chunk, workers.submit(readers.submit(reading, chunk))))
            if len(pending) >= READERS + 2 * workers.number:
                yield _next(pending)
        while pending:
            yield _next(pending)
    finally:
        readers.shutdown(cancel_futures=True)


def _next(pending: deque[tuple[Chunk, Future[pa.Table]]]) -> tuple[Chunk, pa.Table]:
    chunk, rows = pending.popleft()
    return chunk, rows.result()


def write_shards(
    results: Iterator[tuple[Chunk, pa.Table]], output: Output, tally: Tally, account: Account
) -> None:
    """While one shard is written, the next is computed."""

    def write(shard: int, table: pa.Table) -> None:
        with account.timed("write"):
            output.write(shard, encode(table, output.kind))
        tally.wrote(output.name(shard), table.num_rows, counts(table))

    with ThreadPoolExecutor(1, "write") as writer:
        writing: Future[None] | None = None
        for shard, table in _shards(results, tally):
            if writing is not None:
                writing.result()
            writing = writer.submit(write, shard, table)
        if writing is not None:
            writing.result()


def _shards(
    results: Iterator[tuple[Chunk, pa.Table]], tally: Tally
) -> Iterator[tuple[int, pa.Table]]:
    tables: list[pa.Table] = []
    current = -1
    for chunk, table in results:
        if tables and chunk.shard != current:
            yield current, pa.concat_tables(tables)
            tables = []
        current = chunk.shard
        tables.append(table)
        errors = table.num_rows - table["error"].null_count
        tally.advanced(len(chunk.items), errors, examples_of(table) if errors else ())
    if tables:
        yield current, pa.concat_tables(tables)
