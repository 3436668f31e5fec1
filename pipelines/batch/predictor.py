"""One callable for every engine: a table of inputs in, a table of their rows out.

On the server's own runtime: its decoding, its servable, its executors, its ranking. What is read
from where, and who calls it in which process, is others' matter.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
import pyarrow as pa

from pipelines.batch.account import Account
from pipelines.batch.errors import BatchError
from pipelines.batch.model import find_version, open_version
from pipelines.batch.schema import Columns, Row
from pipelines.batch.windows import Part, events, parts_of
from serving.errors import InvalidInput
from serving.runtime.cache import Cache
from serving.runtime.decoding import DEFAULT_LIMITS, Limits
from serving.runtime.opening import Wish
from serving.runtime.ranking import rank_each
from serving.runtime.servable import limit_tensorflow
from serving.runtime.threads import thread_budget

logger = logging.getLogger(__name__)

REPOSITORY = Path("model_repository")
CACHE = platformdirs.user_cache_path("triptych")
MOST_WAITING_BYTES = 16 * 2**20  # of examples, of each call
EMBED = "embed"  # the endpoint, and "embedding" what it gives


class Predictor:
    """A model, opened once; then table -> table, from as many threads at once as one likes.

    In:  `input` (string: name, path or text), `data` (binary, or string for a text), and, if some
         inputs could not be read, `error` (string: why).
    Out: the rows of pipelines/batch/schema.py, in the inputs' order: one each, or one for each of
         its windows, events or tiles.

    Args:   model: a version's folder, or a name in `repository`: the newest whole version.
            top_k: labels in a row; all_scores, embed: these columns too.
            window_seconds, hop_seconds, with_events, tiles: see pipelines/batch/windows.py.
            threads: that may compute at once; None: as many as this process may use.
            batch_size: of one run of the executor; None: the best that was measured.
            executor, precision, measure_seconds, cache, limits: as the server's settings.
    Raises: BatchError if there is no such model, or it cannot give what is asked for.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        repository: Path = REPOSITORY,
        top_k: int = 5,
        all_scores: bool = False,
        embed: bool = False,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        with_events: bool = False,
        tiles: bool = False,
        threads: int | None = None,
        batch_size: int | None = None,
        executor: str = "auto",
        precision: str = "f32",
        measure_seconds: float = 2.0,
        cache: Path | None = CACHE,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        threads = threads or thread_budget()
        limit_tensorflow(threads)
        wish = Wish(executor, precision, threads, seconds=measure_seconds)
        folder, self.model, self.notes = find_version(str(model), repository)
        self._servable = open_version(folder, limits, wish, Cache(cache))
        self._require(embed, with_events, window_seconds)
        assert self._servable.manifest is not None
        self.manifest = self._servable.manifest
        self._parts = parts_of(
            self.model, self.manifest.input, limits, window_seconds, hop_seconds, tiles
        )
        self._columns = Columns(all_scores, embed, self._parts.position if self._parts else ())
        self._top_k = top_k
        self._events = with_events
        self._lanes = threading.BoundedSemaphore(self._servable.executor.lanes)
        self.lanes = self._servable.executor.lanes
        self.batch_size = batch_size or self._servable.best_batch_size
        speeds = [speed for by in self._servable.report.speeds.values() for speed in by.values()]
        self.examples_per_second = max(speeds, default=0.0)  # of all lanes; 0: it was not measured
        self.schema = self._columns.schema(self.model)
        self.account = Account()

    def __call__(self, table: pa.Table) -> pa.Table:
        names, contents = table["input"].to_pylist(), table["data"].to_pylist()
        has_errors = "error" in table.column_names
        errors = table["error"].to_pylist() if has_errors else [None] * len(names)
        return self._columns.table(
            _Call(self).rows(zip(names, contents, errors, strict=True)), self.schema
        )

    def _require(self, embed: bool, with_events: bool, window_seconds: float | None) -> None:
        if embed and EMBED not in self._servable.endpoints:
            raise BatchError(
                f"{self.model} has no endpoint {EMBED!r}, so it gives no embeddings: export it "
                "again with --embed"
            )
        if with_events and window_seconds is None:
            raise BatchError("events are put together from windows: give their length (--window)")


class _Call:
    """One table's inputs: their parts, decoded in turn, then computed in batches of one shape."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._servable = predictor._servable
        self._scores: dict[int, npt.NDArray[np.float32]] = {}  # of all classes, by id of the row
        # By shape, as those of one can be computed together.
        self._waiting: dict[Any, list[tuple[Row, npt.NDArray[Any]]]] = {}
        self._waiting_bytes = 0
        self._decode_seconds = self._compute_seconds = 0.0

    def rows(self, inputs: Iterator[tuple[str, bytes | str | None, str | None]]) -> list[Row]:
        each = [self._input(*given) for given in inputs]
        self._compute_all()
        if self._predictor._events:
            each = [self._merged(rows) for rows in each]
        self._predictor.account.add(decode=self._decode_seconds, compute=self._compute_seconds)
        return [row for rows in each for row in rows]

    def _input(self, name: str, data: bytes | str | None, error: str | None) -> list[Row]:
        if error is None and data is None:
            error = "there is no data"
        if error is not None or data is None:
            return [Row(name, error=error)]
        rows = []
        parts = self._cut(data)
        while True:
            began = perf_counter()
            try:
                decoded, position = next(parts)
                example = self._servable.preprocess(decoded)
            except StopIteration:
                return rows
            except InvalidInput as refusal:  # what was cut before it stays
                return [*rows, Row(name, error=str(refusal))]
            except Exception as raised:
                logger.exception("%s", name)
                return [*rows, Row(name, error=_internal(raised))]
            finally:
                self._decode_seconds += perf_counter() - began
            rows.append(Row(name, position))
            self._put(rows[-1], example)

    def _cut(self, data: bytes | str) -> Iterator[Part]:
        if self._predictor._parts is None:
            yield self._servable.decode(data), ()
        else:
            yield from self._predictor._parts.cut(data)

    def _put(self, row: Row, example: npt.NDArray[Any]) -> None:
        self._waiting.setdefault(example.shape, []).append((row, example[np.newaxis]))
        self._waiting_bytes += example.nbytes
        if self._waiting_bytes > MOST_WAITING_BYTES:
            self._compute_all()

    def _compute_all(self) -> None:
        """Not as soon as a batch is full: decoding and computing by turns would each find the
        processor's caches full of the other's."""
        size = self._predictor.batch_size
        for examples in self._waiting.values():
            for first in range(0, len(examples), size):
                self._compute(examples[first : first + size])
        self._waiting = {}
        self._waiting_bytes = 0

    def _compute(self, batch: list[tuple[Row, npt.NDArray[Any]]]) -> None:
        began = perf_counter()
        parts = [{"examples": example} for _, example in batch]
        try:
            with self._predictor._lanes:
                scores = self._servable.executor.run(*parts)["scores"]
            embeddings = self._embed(batch) if self._predictor._columns.embedding else None
        except Exception as raised:
            if len(batch) > 1:  # one bad example must fail only itself
                for alone in batch:
                    self._compute([alone])
            else:
                logger.exception("%s", batch[0][0].input)
                batch[0][0].error = _internal(raised)
            return
        finally:
            self._compute_seconds += perf_counter() - began
        rows = [row for row, _ in batch]
        if embeddings is not None:
            for row, embedding in zip(rows, embeddings, strict=True):
                row.embedding = embedding
        if self._predictor._events:
            self._scores.update(zip(map(id, rows), scores, strict=True))
        else:
            self._fill(rows, scores)

    def _embed(self, batch: list[tuple[Row, npt.NDArray[Any]]]) -> npt.NDArray[np.float32]:
        examples = np.concatenate([example for _, example in batch])
        embeddings: npt.NDArray[np.float32] = self._servable.run(EMBED, {"examples": examples})[
            "embedding"
        ]
        return embeddings

    def _fill(self, rows: Sequence[Row], scores: npt.NDArray[np.float32]) -> None:
        try:
            each = rank_each(scores, self._predictor.model.labels, self._predictor._top_k)
        except ValueError as error:
            if len(rows) > 1:
                for i, row in enumerate(rows):
                    self._fill([row], scores[i : i + 1])
            else:
                rows[0].error = _internal(error)
            return
        for row, best, own in zip(rows, each, scores, strict=True):
            row.labels = [label.label for label in best]
            row.scores = [label.score for label in best]
            if self._predictor._columns.all_scores:
                row.all_scores = own

    def _merged(self, rows: list[Row]) -> list[Row]:
        merged = []
        for row, scores in events([(row, self._scores.get(id(row))) for row in rows]):
            if scores is not None:
                self._fill([row], scores[np.newaxis])
            merged.append(row)
        return merged


def _internal(raised: Exception) -> str:
    return f"internal error: {type(raised).__name__}: {raised}"[:500]
