"""A shard of rows as a file: Parquet, JSON lines or CSV; and the counts of one that is there.

Parquet holds the schema's metadata too; of the others the run's manifest tells it. CSV has no
lists: `label_1`, `score_1` and so on, the best first, one column a label for all scores.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.batch.schema import PREFIX

COUNTED = ("labels", "error")


class Counts(NamedTuple):
    """rows by their best label; and those with an error."""

    labels: Counter[str]
    errors: int


def counts(table: pa.Table) -> Counts:
    labels = Counter(given[0] for given in table["labels"].to_pylist() if given)
    return Counts(labels, table.num_rows - table["error"].null_count)


def encode(table: pa.Table, kind: str) -> bytes:
    return _ENCODERS[kind](table)


def read_counts(data: bytes, kind: str) -> Counts:
    """Of a shard that `encode` made."""
    if kind == "parquet":
        return counts(pq.read_table(pa.BufferReader(data), columns=list(COUNTED)))
    text = io.StringIO(data.decode(), newline="")
    labels: Counter[str] = Counter()
    errors = 0
    rows = csv.DictReader(text) if kind == "csv" else map(json.loads, text)
    for row in rows:
        best = row.get("label_1") if kind == "csv" else (row["labels"] or [None])[0]
        labels.update([best] if best else [])
        errors += bool(row["error"])
    return Counts(labels, errors)


def _parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue().to_pybytes()


def _jsonl(table: pa.Table) -> bytes:
    lines = []
    for row in table.to_pylist():
        for name, value in row.items():
            if isinstance(value, list) and value and isinstance(value[0], float):
                row[name] = _shortest(value)
        lines.append(json.dumps(row, ensure_ascii=False))
    return "".join(line + "\n" for line in lines).encode()


def _csv(table: pa.Table) -> bytes:
    text = io.StringIO(newline="")
    columns = [_flat(table, field) for field in table.schema]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for names, _ in columns for name in names])
    each = [rows for _, rows in columns]
    for row in zip(*each, strict=True):
        writer.writerow([value for values in row for value in values])
    return text.getvalue().encode()


def _flat(table: pa.Table, field: pa.Field) -> tuple[list[str], Iterator[list[Any]]]:
    """A column as columns: their names, and the values of each row."""
    values = table[field.name].to_pylist()
    if not pa.types.is_list(field.type):
        return [field.name], ([value] for value in values)
    labels = json.loads(table.schema.metadata[f"{PREFIX}labels".encode()])
    width = max((len(value) for value in values if value), default=0)
    if field.name == "all_scores":
        names = [f"score of {label}" for label in labels]
        width = len(labels)
    else:
        stem = {"labels": "label", "scores": "score"}.get(field.name, field.name)
        names = [f"{stem}_{i + 1}" for i in range(width)]
    shorten = _shortest if pa.types.is_floating(field.type.value_type) else list

    def rows() -> Iterator[list[Any]]:
        for value in values:
            given = shorten(value or [])
            yield [*given, *[None] * (width - len(given))]

    return names, rows()


def _shortest(values: list[float]) -> list[float]:
    """The shortest digits that make the same float32: 0.9941354, not 0.9941353797912598."""
    return [float(str(value)) for value in np.array(values, np.float32)]


_ENCODERS: dict[str, Callable[[pa.Table], bytes]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "csv": _csv,
}
FORMATS = tuple(_ENCODERS)
