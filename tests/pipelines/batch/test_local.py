"""The threads of one machine: order is kept, and what is in memory is bounded."""

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from pipelines.batch.account import Account
from pipelines.batch.local import READERS, predict_all
from pipelines.batch.reading import Chunk
from pipelines.batch.sources.item import Item
from pipelines.batch.workers import Workers
from serving.runtime.decoding import DEFAULT_LIMITS

WORKERS = 3


class Chunks:
    """Counts how many of them were taken."""

    def __init__(self, number: int) -> None:
        self.taken = 0
        self._number = number

    def __iter__(self) -> Iterator[Chunk]:
        for number in range(self._number):
            self.taken += 1
            yield Chunk(number, [Item(f"{number} {i}", data="x") for i in range(2)])


def results(chunks: Chunks, predict) -> Iterator[tuple[Chunk, pa.Table]]:
    with Workers([predict] * WORKERS) as workers:
        yield from predict_all(chunks, workers, limits=DEFAULT_LIMITS, account=Account())


def test_the_first_that_are_slow_come_first() -> None:
    last = threading.Event()

    def predict(table: pa.Table) -> pa.Table:
        name = table["input"][0].as_py()
        if name == "0 0":
            assert last.wait(20)  # until all others of those that are in flight are done
        if name == f"{WORKERS + 2} 0":
            last.set()
        return table

    found = [
        (chunk.shard, table["input"].to_pylist()) for chunk, table in results(Chunks(30), predict)
    ]
    assert found == [(i, [f"{i} 0", f"{i} 1"]) for i in range(30)]


def test_no_more_is_read_than_is_taken() -> None:
    chunks = Chunks(1000)
    most = READERS + 2 * WORKERS
    for taken, _ in enumerate(results(chunks, lambda table: table), 1):
        assert chunks.taken <= taken + most
        if taken == 200:
            break


def test_as_many_compute_at_once_as_there_are_workers() -> None:
    together = threading.Barrier(WORKERS, timeout=20)

    def predict(table: pa.Table) -> pa.Table:
        together.wait()  # all of them, or none
        return table

    assert len(list(results(Chunks(4 * WORKERS), predict))) == 4 * WORKERS


def test_what_breaks_is_told_and_ends_the_threads() -> None:
    before = threading.active_count()

    def predict(table: pa.Table) -> pa.Table:
        raise MemoryError("no more")

    with pytest.raises(MemoryError):
        list(results(Chunks(100), predict))
    assert threading.active_count() == before
