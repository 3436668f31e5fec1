"""One callable for every engine: a table of inputs in, a table of their rows out.

On the server's own runtime: its decoding, its servable, its executors, its ranking. What is read
from where, and who calls it in which process, is others' matter.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import platformdirs
import pyarrow as pa

from pipelines.batch.account import Account
from pipelines.batch.dense import Artefact, Dense
from pipelines.batch.errors import BatchError
from pipelines.batch.heat_maps import HeatMaps
from pipelines.batch.model import find_version, open_version
from pipelines.batch.options import Machine, Rows
from pipelines.batch.schema import Columns, ModelIdentity, Row
from pipelines.batch.windows import Part, events, parts_of
from protos.triptych.v1 import manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.cache import Cache
from serving.runtime.decoding import DEFAULT_LIMITS, Limits
from serving.runtime.executors import Executor
from serving.runtime.opening import Wish
from serving.runtime.ranking import rank_each
from serving.runtime.saved_model import limit_tensorflow
from serving.runtime.servable import Decoded
from serving.runtime.threads import thread_budget

logger = logging.getLogger(__name__)

REPOSITORY = Path("model_repository")
CACHE = platformdirs.user_cache_path("triptych")
MOST_WAITING_BYTES = 16 * 2**20  # of examples, of each call
EMBED = "embed"  # the endpoint, and "embedding" what it gives


class Runtime(Artefact, Protocol):
    """What computes: a loaded version here, or one that a server has (remote.py)."""

    @property
    def manifest(self) -> manifest_pb2.Manifest | None: ...

    @property
    def executor(self) -> Executor: ...

    def decode(self, item: bytes | str) -> Decoded: ...


class TablePredictor:
    """Table -> table, on a version that is open, from as many threads at once as one likes.

    In:  `input` (string: name, path or text), `data` (binary, or string for a text), and, if some
         inputs could not be read, `error` (string: why).
    Out: the rows of pipelines/batch/schema.py, in the inputs' order: one each, or one for each of
         its windows, events or tiles.

    Args:   heat_maps: a folder, path or URL; None: there are none.
    Raises: BatchError if the version cannot give such rows.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: ModelIdentity,
        rows: Rows,
        batch_size: int,
        limits: Limits = DEFAULT_LIMITS,
        heat_maps: str | None = None,
    ) -> None:
        self._servable = runtime
        self.model = model
        assert runtime.manifest is not None
        self.manifest = runtime.manifest
        if rows.embed and not runtime.has(EMBED):
            raise BatchError(
                f"{model} has no endpoint {EMBED!r}, so it gives no embeddings: export it again "
                "with --embed"
            )
        spec = self.manifest.input
        self._parts = parts_of(model, spec, limits, rows, runtime.preprocess)
        self._dense = Dense(runtime, model, spec, limits) if rows.dense else None
        if self._dense and (rows.embed or rows.tiles):
            raise BatchError(
                "--dense scores all windows in one pass, of which none has an embedding, and which "
                "are no tiles: leave --embed and --tiles out"
            )
        self._heat_maps = None
        if heat_maps is not None:
            if not (rows.tiles or rows.dense):
                raise BatchError("heat maps show a picture's parts: take --dense or --tiles too")
            self._heat_maps = HeatMaps(heat_maps, model.labels, limits)
        by = self._dense or self._parts
        self._columns = Columns(rows.all_scores, rows.embed, by.position if by else ())
        self._top_k = rows.top_k
        self._events = rows.with_events
        self.lanes = runtime.executor.lanes
        self.executor_name = runtime.executor.name
        self._lanes = threading.BoundedSemaphore(self.lanes)
        self.batch_size = batch_size
        self.schema = self._columns.schema(model)
        self.account = Account()

    def decode(self, item: bytes | str) -> Decoded:
        """An input as the model's own `preprocess` takes it.  Raises InvalidInput."""
        return self._servable.decode(item)

    def __call__(self, table: pa.Table) -> pa.Table:
        names, contents = table["input"].to_pylist(), table["data"].to_pylist()
        has_errors = "error" in table.column_names
        errors = table["error"].to_pylist() if has_errors else [None] * len(names)
        return self._columns.table(
            _Call(self).rows(zip(names, contents, errors, strict=True)), self.schema
        )


class Predictor(TablePredictor):
    """A model, opened once on this machine; then as TablePredictor.

    Args:   model: a version's folder, or a name in `repository`: the newest whole version.
            top_k: labels in a row; all_scores, embed: these columns too.
            window, hop, with_events, tiles, dense: see pipelines/batch/windows.py and its kin.
            heat_maps: a folder, where a picture is drawn of each input's tiles.
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
        window: float | None = None,
        hop: float | None = None,
        with_events: bool = False,
        tiles: bool = False,
        dense: bool = False,
        heat_maps: str | None = None,
        threads: int | None = None,
        batch_size: int | None = None,
        executor: str = "auto",
        precision: str = "f32",
        measure_seconds: float = 2.0,
        cache: Path | None = CACHE,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        folder, identity, self.notes = find_version(str(model), repository)
        threads = threads or thread_budget()
        limit_tensorflow(threads)
        # All lanes are busy, so no call is ever alone.
        wish = Wish(executor, precision, threads, seconds=measure_seconds, lone_calls=False)
        servable = open_version(folder, limits, wish, Cache(cache))
        speeds = [speed for by in servable.report.speeds.values() for speed in by.values()]
        self.examples_per_second = max(speeds, default=0.0)  # of all lanes; 0: it was not measured
        rows = Rows(top_k, all_scores, embed, window, hop, with_events, tiles, dense)
        size = batch_size or servable.best_batch_size
        super().__init__(servable, identity, rows, size, limits, heat_maps)

    @classmethod
    def on(cls, machine: Machine, model: str | Path, rows: Rows, **options: Any) -> Self:
        """As the machine is to be used, and with what else the constructor takes."""
        own = [f.name for f in fields(machine) if f.name not in ("processes", "actors")]
        how = {name: getattr(machine, name) for name in own}
        return cls(model, **(asdict(rows) | how | options))


class _Call:
    """One table's inputs: their parts, decoded in turn, then computed in batches of one shape."""

    def __init__(self, predictor: TablePredictor) -> None:
        self._predictor = predictor
        self._servable = predictor._servable
        self._scores: dict[int, npt.NDArray[np.float32]] = {}  # of all classes, by id of the row
        # By shape, as those of one can be computed together.
        self._waiting: dict[Any, list[tuple[Row, npt.NDArray[Any]]]] = {}
        self._waiting_bytes = 0
        self._decode_seconds = self._compute_seconds = 0.0

    def rows(self, inputs: Iterator[tuple[str, bytes | str | None, str | None]]) -> list[Row]:
        each, contents = [], []
        for name, data, error in inputs:
            each.append(self._input(name, data, error))
            contents.append(data)
        self._compute_all()
        if self._predictor._events:
            each = [self._merged(rows) for rows in each]
        if self._predictor._heat_maps is not None:
            for rows, data in zip(each, contents, strict=True):
                self._draw(self._predictor._heat_maps, rows, data)
        self._predictor.account.add(decode=self._decode_seconds, compute=self._compute_seconds)
        return [row for rows in each for row in rows]

    def _input(self, name: str, data: bytes | str | None, error: str | None) -> list[Row]:
        if error is None and data is None:
            error = "there is no data"
        if error is not None or data is None:
            return [Row(name, error=error)]
        if self._predictor._dense is not None:
            return self._scan(self._predictor._dense, name, data)
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
            except BatchError:
                raise
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
        except BatchError:
            raise
        except Exception as raised:
            if len(batch) > 1:  # one bad example must fail only itself
                for alone in batch:
                    self._compute([alone])
            elif isinstance(raised, InvalidInput):  # of a server
                batch[0][0].error = str(raised)
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
        self._scored(rows, scores)

    def _scored(self, rows: Sequence[Row], scores: npt.NDArray[np.float32]) -> None:
        if self._predictor._events or self._predictor._heat_maps is not None:
            self._scores.update(zip(map(id, rows), scores, strict=True))
        if not self._predictor._events:
            self._fill(rows, scores)

    def _scan(self, dense: Dense, name: str, data: bytes | str) -> list[Row]:
        began = decoded = perf_counter()
        try:
            picture = dense.picture(data)
            decoded = perf_counter()
            with self._predictor._lanes:
                boxes, scores = dense.scan(picture)
        except BatchError:
            raise
        except InvalidInput as refusal:
            return [Row(name, error=str(refusal))]
        except Exception as raised:
            logger.exception("%s", name)
            return [Row(name, error=_internal(raised))]
        finally:
            self._decode_seconds += decoded - began
            self._compute_seconds += perf_counter() - decoded
        rows = [Row(name, tuple(box)) for box in boxes.tolist()]
        self._scored(rows, scores)
        return rows

    def _draw(self, heat_maps: HeatMaps, rows: list[Row], data: bytes | str | None) -> None:
        shown = [row for row in rows if row.error is None and id(row) in self._scores]
        if not shown or not isinstance(data, bytes):
            return
        began = perf_counter()
        boxes = np.array([row.position for row in shown], np.int32)
        heat_maps.write(
            shown[0].input, data, boxes, np.stack([self._scores[id(row)] for row in shown])
        )
        self._predictor.account.add(write=perf_counter() - began)

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
