"""Inputs by name -> inputs in memory, in tables that `Predictor` takes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from pipelines.batch import storage
from pipelines.batch.sources.item import Item
from serving.errors import InvalidInput
from serving.runtime.decoding import Limits

CHUNK_BYTES = 16 * 2**20


class Chunk(NamedTuple):
    """Inputs that are read and computed together, all of one shard."""

    shard: int
    items: list[Item]


def chunks(
    items: Iterable[Item], shard_inputs: int, done: frozenset[int], rows: int
) -> Iterator[Chunk]:
    """In order, without the shards that are done.

    Args: rows: in a chunk at most; fewer where they are large.
    """
    current = Chunk(0, [])
    size = 0
    for number, item in enumerate(items):
        shard = number // shard_inputs
        if shard in done:
            continue
        full = len(current.items) >= rows or size + item.size > CHUNK_BYTES
        if current.items and (full or shard != current.shard):
            yield current
            current, size = Chunk(shard, []), 0
        elif not current.items:
            current = Chunk(shard, [])
        current.items.append(item)
        size += item.size
    if current.items:
        yield current


def read(items: Sequence[Item], limits: Limits) -> pa.Table:
    """`input`, `data`, `error`: what cannot be read has its reason in the last."""
    contents: list[bytes | str | None] = []
    errors: list[str | None] = []
    for item in items:
        data, error = item.data, item.error
        if item.path is not None:
            try:
                data = storage.read(item.path, limits, item.offset, item.size)
            except InvalidInput as refusal:
                error = str(refusal)
        contents.append(data)
        errors.append(error)
    texts = all(isinstance(data, str) for data in contents if data is not None)
    return pa.table(
        {
            "input": pa.array([item.name for item in items], pa.string()),
            "data": _strings(contents) if texts else _binary(contents),
            "error": pa.array(errors, pa.string()),
        }
    )


def _strings(contents: list) -> pa.Array:
    try:
        return pa.array(contents, pa.string())
    except UnicodeEncodeError:  # of half a character, which JSON can write; it is refused later
        return _binary(contents)


def _binary(contents: list) -> pa.Array:
    encoded = [
        data.encode(errors="surrogatepass") if isinstance(data, str) else data for data in contents
    ]
    return pa.array(encoded, pa.binary())
