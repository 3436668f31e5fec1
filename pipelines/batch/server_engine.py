"""The engine of a running server: what is read here is classified there, on a pipelined stream.

The rows are those of the other engines. One version answers all of them, the one that was the
newest when the run began. Of windows, tiles and embeddings the stream's protocol knows nothing:
remote.py has another for these.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
import pyarrow as pa

from pipelines.batch.account import Account
from pipelines.batch.events import Tally
from pipelines.batch.local import CHUNK_ROWS, predict_all, write_shards
from pipelines.batch.options import Job, Rows
from pipelines.batch.predictor import TablePredictor
from pipelines.batch.reading import chunks
from pipelines.batch.remote import (
    CALL_SECONDS,
    FIRST_WAIT_SECONDS,
    PASSING,
    REQUEST_BYTES,
    TOO_LARGE,
    TRIES,
    Code,
    RemoteVersion,
    Server,
    reason_of,
)
from pipelines.batch.schema import Columns, ModelIdentity, Row
from pipelines.batch.shards import Output
from pipelines.batch.sources.item import Item
from pipelines.batch.workers import Workers
from protos.triptych.v1 import classifier_pb2

STREAMS = 4  # that are open at once
REQUEST_INPUTS = 16
BATCH = 32  # examples that are sent together, where they are examples
NUMBERS = {code.value[0]: code for code in Code}

Indices = list[int]  # of rows: the inputs of one request
Outcome = tuple[list[Indices], str | None]  # to be sent again, and why waiting may help


class ServerEngine:
    """Args: job: its model is a NAME or NAME/VERSION that the server has."""

    def __init__(self, job: Job) -> None:
        assert job.server is not None
        rows = job.rows
        limits = job.machine.limits
        self._job = job
        self.notes: tuple[str, ...] = ()
        self.account = Account()
        server = Server(job.server)
        self.model, manifest = server.find(job.model)
        self._predictor: ServerPredictor | TablePredictor
        if rows == Rows(rows.top_k, rows.all_scores) and job.heat_maps is None:
            self._predictor = ServerPredictor(
                server, self.model, top_k=rows.top_k, all_scores=rows.all_scores
            )
            self._predict = self._timed
        else:
            size = job.machine.batch_size or BATCH
            version = RemoteVersion(server, self.model, manifest, limits)
            self._predictor = TablePredictor(version, self.model, rows, size, limits, job.heat_maps)
            self._predictor.account = self.account
            self._predict = self._predictor

    def open(self, inputs: int) -> None:
        pass

    def write(self, items: Iterator[Item], output: Output, tally: Tally) -> None:
        with Workers([self._predict] * self._predictor.lanes) as workers:
            results = predict_all(
                chunks(items, self._job.shard_inputs, frozenset(output.done), self._rows()),
                workers,
                limits=self._job.machine.limits,
                account=self.account,
            )
            write_shards(results, output, tally, self.account)

    def _rows(self) -> int:
        return 1 if self._job.rows.dense else self._job.machine.batch_size or CHUNK_ROWS

    def _timed(self, table: pa.Table) -> pa.Table:
        with self.account.timed("compute"):
            return self._predictor(table)


class ServerPredictor:
    """As `Predictor`: a table of inputs to a table of rows, from many threads at once.

    Raises: BatchError if the server or the model is not there, or does not come back.
    """

    lanes = STREAMS

    def __init__(
        self, server: Server, model: ModelIdentity, *, top_k: int = 5, all_scores: bool = False
    ) -> None:
        self._server = server
        self._top_k = top_k
        self.model = model
        self._columns = Columns(all_scores)
        self.schema = self._columns.schema(self.model)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = [Row(name) for name in table["input"].to_pylist()]
        contents = table["data"].to_pylist()
        if "error" in table.column_names:
            for row, error in zip(rows, table["error"].to_pylist(), strict=True):
                row.error = error
        for row, data in zip(rows, contents, strict=True):
            if row.error is None and data is None:
                row.error = "there is no data"
        _Sending(self, rows, contents).run()
        return self._columns.table(rows, self.schema)

    def _request(self, contents: Iterable[bytes | str]) -> classifier_pb2.ClassifyRequest:
        top_k = len(self.model.labels) if self._columns.all_scores else self._top_k
        request = classifier_pb2.ClassifyRequest(
            model=self.model.name, version=self.model.version, top_k=top_k
        )
        for data in contents:
            if isinstance(data, str):
                request.inputs.add(text=data)
            else:
                request.inputs.add(data=data)
        return request

    def _fill(self, row: Row, labels: Sequence[Any]) -> None:
        best = labels[: self._top_k]
        row.labels = [label.label for label in best]
        row.scores = [label.score for label in best]
        if self._columns.all_scores:
            ordered = sorted(labels, key=lambda label: label.class_id)
            row.all_scores = [label.score for label in ordered]


class _Sending:
    """One table's inputs: requests of some, and again of what could not be answered yet."""

    def __init__(
        self,
        predictor: ServerPredictor,
        rows: Sequence[Row],
        contents: Sequence[bytes | str | None],
    ) -> None:
        self._predictor = predictor
        self._rows = rows
        self._contents = contents

    def run(self) -> None:
        waiting = list(self._requests())
        tries, wait = 0, FIRST_WAIT_SECONDS
        while waiting:
            before = sum(map(len, waiting))
            waiting, passing = self._send(waiting)
            if passing is None:
                continue
            if sum(map(len, waiting)) < before:  # it goes on, if slowly
                tries, wait = 0, FIRST_WAIT_SECONDS
            tries += 1
            if tries >= TRIES:
                raise self._predictor._server.failed(passing)
            time.sleep(wait)
            wait *= 2

    def _requests(self) -> Iterator[Indices]:
        request: Indices = []
        size = 0
        for index, data in enumerate(self._contents):
            if data is None or self._rows[index].error is not None:
                continue
            if request and (len(request) >= REQUEST_INPUTS or size + len(data) > REQUEST_BYTES):
                yield request
                request, size = [], 0
            request.append(index)
            size += len(data)
        if request:
            yield request

    def _send(self, requests: Sequence[Indices]) -> tuple[list[Indices], str | None]:
        """All on one stream. Returns: what is to be sent again, and why waiting may help."""
        unanswered = {str(number): request for number, request in enumerate(requests)}
        messages = [
            classifier_pb2.ClassifyStreamRequest(id=number, request=self._message(request))
            for number, request in unanswered.items()
        ]
        again: list[Indices] = []
        passing = None
        try:
            for answer in self._predictor._server.classifier.ClassifyStream(
                iter(messages), timeout=CALL_SECONDS
            ):
                request = unanswered.pop(answer.id)
                if answer.HasField("response"):
                    outcome = self._take(request, answer.response.results)
                else:
                    code = NUMBERS.get(answer.error.code, Code.UNKNOWN)
                    outcome = self._refused(request, code, answer.error.message)
                again += outcome[0]
                passing = passing or outcome[1]
        except grpc.RpcError as error:
            left = list(unanswered.values())
            if TOO_LARGE in reason_of(error):
                if max(map(len, left)) > 1:
                    return [*again, *([i] for request in left for i in request)], passing
                for request in left:  # one of them; alone, each has its own answer
                    outcome = self._call(request)
                    again += outcome[0]
                    passing = passing or outcome[1]
            elif error.code() in PASSING:
                return again + left, reason_of(error)
            else:
                raise self._predictor._server.failed(reason_of(error)) from None
        return again, passing

    def _call(self, request: Indices) -> Outcome:
        try:
            answer = self._predictor._server.classifier.Classify(
                self._message(request), timeout=CALL_SECONDS
            )
        except grpc.RpcError as error:
            code = Code.INVALID_ARGUMENT if TOO_LARGE in reason_of(error) else error.code()
            return self._refused(request, code, reason_of(error))
        return self._take(request, answer.results)

    def _take(self, request: Indices, results: Sequence[classifier_pb2.Result]) -> Outcome:
        again, passing = [], None
        for index, result in zip(request, results, strict=True):
            if not result.HasField("error"):
                self._predictor._fill(self._rows[index], result.labels)
            elif NUMBERS.get(result.error.code) in PASSING:
                again.append([index])
                passing = result.error.message
            else:
                self._rows[index].error = result.error.message
        return again, passing

    def _refused(self, request: Indices, code: grpc.StatusCode, reason: str) -> Outcome:
        if code in PASSING:
            return [request], reason
        if code is Code.NOT_FOUND:
            raise self._predictor._server.failed(reason)
        if len(request) > 1:  # not one could be classified: alone, each has its own reason
            return [[index] for index in request], None
        self._rows[request[0]].error = reason.removeprefix("input 0: ")
        return [], None

    def _message(self, request: Indices) -> classifier_pb2.ClassifyRequest:
        return self._predictor._request([self._contents[index] or b"" for index in request])
