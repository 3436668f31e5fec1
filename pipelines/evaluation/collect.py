"""Labelled examples through the batch Predictor: scores beside true classes, and what was left out.

An example is measured or it is left out with a reason; there is nothing between.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.datasets import Labelled

TABLE_ROWS = 64
TABLE_BYTES = 16 * 2**20  # of files; a table is closed by the one that reaches it

Predict = Callable[[pa.Table], pa.Table]


class LeftOut(NamedTuple):
    input: str
    label: str
    reason: str


@dataclass(frozen=True)
class Answers:
    """In the order of the examples, without those that were left out."""

    true: npt.NDArray[np.int64]  # [N], in the model's numbering
    scores: npt.NDArray[np.float32]  # [N, K]
    sources: list[Path | str]
    left_out: list[LeftOut]
    unknown: dict[str, int]  # class that the model has no label for -> its examples, not measured


class _Row(NamedTuple):
    source: Path | str
    true: int
    label: str
    data: bytes | str | None
    error: str | None


def collect(
    predict: Predict,
    data: Labelled,
    labels: Sequence[str],
    threads: int = 1,
    advance: Callable[[int], object] = lambda count: None,
) -> Answers:
    """
    Args: predict: a Predictor of one row an input, with all scores; called from `threads` at once;
          labels:  the model's, which need not be the data's, nor in their order;
          advance: is told how many more examples are done.
    """
    class_ids = {label: i for i, label in enumerate(labels)}
    unknown = Counter(
        label for e in data.examples if (label := data.labels[e.class_id]) not in class_ids
    )
    advance(unknown.total())
    left_out: list[LeftOut] = []
    true: list[int] = []
    sources: list[Path | str] = []
    scores = [np.empty((0, len(labels)), np.float32)]
    for rows, answers in _answered(predict, _tables(_read(data, class_ids)), threads):
        for row, error in zip(rows, answers["error"].to_pylist(), strict=True):
            if error is not None:
                left_out.append(LeftOut(_name(row.source), row.label, error))
            else:
                true.append(row.true)
                sources.append(row.source)
        scores.append(_scores(answers, len(labels)))
        advance(len(rows))
    every = np.concatenate(scores)
    return Answers(np.array(true, np.int64), every, sources, left_out, dict(unknown))


def _read(data: Labelled, class_ids: dict[str, int]) -> Iterator[_Row]:
    for source, class_id in data.examples:
        label = data.labels[class_id]
        if label not in class_ids:
            continue
        content: bytes | str | None = None
        error = None
        try:
            content = source if isinstance(source, str) else source.read_bytes()
        except OSError as failure:
            error = f"cannot be read: {failure.strerror}"
        yield _Row(source, class_ids[label], label, content, error)


def _tables(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    table: list[_Row] = []
    size = 0
    for row in rows:
        table.append(row)
        size += len(row.data or "")
        if len(table) == TABLE_ROWS or size >= TABLE_BYTES:
            yield table
            table, size = [], 0
    if table:
        yield table


def _answered(
    predict: Predict, tables: Iterable[list[_Row]], threads: int
) -> Iterator[tuple[list[_Row], pa.Table]]:
    """In order, with at most two tables a thread in memory."""
    pending: deque[tuple[list[_Row], Future[pa.Table]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for rows in tables:
            pending.append((rows, pool.submit(predict, _table(rows))))
            if len(pending) >= 2 * threads:
                rows, future = pending.popleft()
                yield rows, future.result()
        for rows, future in pending:
            yield rows, future.result()


def _table(rows: Sequence[_Row]) -> pa.Table:
    kind = pa.string() if isinstance(rows[0].source, str) else pa.binary()
    return pa.table(
        {
            "input": pa.array([_name(row.source) for row in rows], pa.string()),
            "data": pa.array([row.data for row in rows], kind),
            "error": pa.array([row.error for row in rows], pa.string()),
        }
    )


def _name(source: Path | str) -> str:
    """A file's name need not be UTF-8, and a table's strings are."""
    return str(source).encode(errors="backslashreplace").decode()


def _scores(answers: pa.Table, classes: int) -> npt.NDArray[np.float32]:
    """float32 [N, K] of the rows without an error."""
    good = answers.filter(pc.is_null(answers["error"]))["all_scores"].combine_chunks()
    return good.flatten().to_numpy(zero_copy_only=False).reshape(-1, classes)
