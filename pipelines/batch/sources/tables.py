"""A column of a table: texts, or the paths of files, or (Parquet) the files themselves.

CSV (quoted as usual), TSV (no quoting), both with a header; JSON lines; Parquet. UTF-8.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.batch.errors import BatchError
from pipelines.batch.sources.item import Fingerprint, Item, Survey, shown
from pipelines.batch.sources.paths import listed
from pipelines.batch.storage import describe, extension, open_random, open_stream

EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# What a column is called that needs no --column, for lack of others it might be.
USUAL = {
    "text": ("text", "sentence", "input"),
    "image": ("path", "file", "image", "input"),
    "audio": ("path", "file", "audio", "input"),
}
PARQUET_ROWS = 64  # read at once: with the files inside, a row has megabytes
csv.field_size_limit(2**27)


class BadRow(Exception):
    """A row that cannot be read, and why."""


class Table:
    """
    Args:   given: a path or URL; column: None is the only one, or one of the usual names.
            root: below which a column of paths names files.
    Raises: BatchError if there is no such column, or it is no table.
    """

    def __init__(self, given: str, domain: str, column: str | None, root: str) -> None:
        self._given = given
        self._domain = domain
        self._root = root
        self._kind = extension(given)
        self._column = self._choose(column)

    def items(self) -> Iterator[Item]:
        for number, value in enumerate(self._values()):
            yield self._item(shown(f"{self._given}#{number}"), value)

    def survey(self) -> Survey:
        found = Fingerprint()
        file = describe(self._given)
        if file is None:
            raise BatchError(f"{self._given} is gone: give another INPUT")
        if self._kind == ".parquet":
            with open_random(self._given) as stream:
                inputs = pq.ParquetFile(stream).metadata.num_rows
        else:
            inputs = sum(1 for _ in self._values())
        found.add(self._column, file.size, file.stamp, inputs=inputs)
        return found.survey()

    def _item(self, place: str, value: Any) -> Item:
        if isinstance(value, BadRow):
            return Item(place, error=str(value))
        if isinstance(value, dict) and "bytes" in value:  # as Hugging Face's data sets have them
            place, value = value.get("path") or place, value["bytes"]
        if value is None or value == "":
            return Item(shown(place), error=f"column {self._column!r} is empty here")
        if isinstance(value, bytes):
            return Item(shown(place), data=value, size=len(value))
        if not isinstance(value, str):
            return Item(place, error=f"column {self._column!r} holds {value!r:.40}, not a string")
        if self._domain == "text":
            return Item(shown(value), data=value, size=len(value))
        return listed(value, self._root)

    def _choose(self, column: str | None) -> str:
        names = self._names()
        if column is None:
            usual = [name for name in USUAL[self._domain] if name in names]
            column = names[0] if len(names) == 1 else usual[0] if usual else None
        if column not in names:
            what = "choose one by --column" if column is None else f"there is no {column!r}"
            raise BatchError(f"{self._given}: {what}; it has the columns {', '.join(names)}")
        return column

    def _names(self) -> list[str]:
        try:
            if self._kind == ".parquet":
                with open_random(self._given) as file:
                    return list(pq.ParquetFile(file).schema_arrow.names)
            if self._kind in (".csv", ".tsv"):
                names = next(_rows(self._given, self._kind), None)
            else:
                first = next(_objects(self._given), None)
                names = list(first) if isinstance(first, dict) else None
        except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
            raise BatchError(f"{self._given} cannot be read: {error}") from error
        if not names:
            raise BatchError(f"{self._given} has no columns: is it a table with a header?")
        return names

    def _values(self) -> Iterator[Any]:
        try:
            if self._kind == ".parquet":
                yield from self._parquet()
            elif self._kind in (".csv", ".tsv"):
                yield from self._separated()
            else:
                for row in _objects(self._given):
                    yield row.get(self._column) if isinstance(row, dict) else row
        except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error, OSError) as error:
            raise BatchError(f"{self._given} cannot be read to its end: {error}") from error

    def _parquet(self) -> Iterator[Any]:
        with open_random(self._given) as file:
            batches = pq.ParquetFile(file).iter_batches(PARQUET_ROWS, columns=[self._column])
            for batch in batches:
                yield from batch.column(0).to_pylist()

    def _separated(self) -> Iterator[Any]:
        rows = _rows(self._given, self._kind)
        width = len(names := next(rows))
        place = names.index(self._column)
        for row in rows:
            if len(row) == width:
                yield row[place]
            else:
                yield BadRow(f"the row has {len(row)} of {width} columns")


def _rows(given: str, kind: str) -> Iterator[list[str]]:
    with io.TextIOWrapper(open_stream(given), "utf-8-sig", newline="") as lines:
        if kind == ".csv":
            reader = csv.reader(lines, strict=True)
        else:
            reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        yield from (row for row in reader if row)


def _objects(given: str) -> Iterator[dict[str, Any] | BadRow]:
    with io.TextIOWrapper(open_stream(given), "utf-8-sig") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                row = BadRow(f"the line is no JSON: {error}")
            yield row if isinstance(row, dict | BadRow) else BadRow("the line is no JSON object")
