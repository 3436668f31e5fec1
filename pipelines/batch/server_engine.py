"""The engine of a running server: what is read here is classified there, on a pipelined stream.

The rows are those of the other engines. One version answers all of them, the one that was the
newest when the run began.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
import pyarrow as pa

from pipelines.batch.account import Account
from pipelines.batch.errors import BatchError
from pipelines.batch.events import Tally
from pipelines.batch.local import CHUNK_ROWS, predict_all, write_shards
from pipelines.batch.model import identity
from pipelines.batch.options import Job
from pipelines.batch.reading import chunks
from pipelines.batch.schema import Columns, ModelIdentity, Row
from pipelines.batch.shards import Output
from pipelines.batch.sources.item import Item
from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc

STREAMS = 4  # that are open at once
REQUEST_INPUTS = 16
REQUEST_BYTES = 4 * 2**20
CALL_SECONDS = 600.0
TRIES = 8
FIRST_WAIT_SECONDS = 0.1  # between two tries, then twice as long each time
Code = grpc.StatusCode
# The server has too much to do, or is being replaced: a later try may go well.
PASSING = (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
TOO_LARGE = "larger than max"  # gRPC's words; a full queue has the same status
NUMBERS = {code.value[0]: code for code in Code}

Indices = list[int]  # of rows: the inputs of one request
Outcome = tuple[list[Indices], str | None]  # to be sent again, and why waiting may help


class ServerEngine:
    """Args: job: its model is a NAME or NAME/VERSION that the server has."""

    def __init__(self, job: Job) -> None:
        assert job.server is not None
        rows = job.rows
        if rows.embed or rows.window_seconds is not None or rows.tiles or rows.with_events:
            raise BatchError(
                "a server gives labels and scores of whole inputs: leave --server out for "
                "embeddings, windows, events and tiles"
            )
        self._job = job
        self.notes: tuple[str, ...] = ()
        self.account = Account()
        self._predictor = ServerPredictor(
            job.server, job.model, top_k=rows.top_k, all_scores=rows.all_scores
        )
        self.model = self._predictor.model

    def open(self) -> None:
        pass

    def write(self, items: Iterator[Item], output: Output, tally: Tally) -> None:
        rows = self._job.machine.batch_size or CHUNK_ROWS

        def predict(table: pa.Table) -> pa.Table:
            with self.account.timed("compute"):
                return self._predictor(table)

        results = predict_all(
            chunks(items, self._job.shard_inputs, frozenset(output.done), rows),
            predict,
            workers=STREAMS,
            limits=self._job.machine.limits,
            account=self.account,
        )
        write_shards(results, output, tally, self.account)


class ServerPredictor:
    """As `Predictor`: a table of inputs to a table of rows, from many threads at once.

    Raises: BatchError if the server or the model is not there, or does not come back.
    """

    def __init__(
        self, address: str, model: str, *, top_k: int = 5, all_scores: bool = False
    ) -> None:
        self._address = address
        self._top_k = top_k
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if address.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]"):
            options.append(("grpc.enable_http_proxy", 0))
        self._stub = classifier_pb2_grpc.ClassifierStub(grpc.insecure_channel(address, options))
        self.model = self._find(model)
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

    def _find(self, model: str) -> ModelIdentity:
        name, _, number = model.rpartition("/")
        request = classifier_pb2.GetModelRequest(model=model)
        if name and number.isdecimal():
            request = classifier_pb2.GetModelRequest(model=name, version=int(number))
        try:
            answer = self._stub.GetModel(request, timeout=30)
        except grpc.RpcError as error:
            raise self._failed(_reason(error)) from None
        ready = [
            v.version for v in answer.versions if v.state == classifier_pb2.VersionStatus.READY
        ]
        version = request.version if request.HasField("version") else max(ready, default=0)
        if version not in ready:
            raise BatchError(f"{self._address} has no version of {model} that is ready")
        return identity(answer.manifest, version)

    def _failed(self, reason: str) -> BatchError:
        return BatchError(
            f"the server at {self._address} does not answer ({reason}): see that it runs "
            "and has the model; the same command goes on"
        )

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
                raise self._predictor._failed(passing)
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
            for answer in self._predictor._stub.ClassifyStream(
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
            if TOO_LARGE in _reason(error):
                if max(map(len, left)) > 1:
                    return [*again, *([i] for request in left for i in request)], passing
                for request in left:  # one of them; alone, each has its own answer
                    outcome = self._call(request)
                    again += outcome[0]
                    passing = passing or outcome[1]
            elif error.code() in PASSING:
                return again + left, _reason(error)
            else:
                raise self._predictor._failed(_reason(error)) from None
        return again, passing

    def _call(self, request: Indices) -> Outcome:
        try:
            answer = self._predictor._stub.Classify(self._message(request), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            code = Code.INVALID_ARGUMENT if TOO_LARGE in _reason(error) else error.code()
            return self._refused(request, code, _reason(error))
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
            raise self._predictor._failed(reason)
        if len(request) > 1:  # not one could be classified: alone, each has its own reason
            return [[index] for index in request], None
        self._rows[request[0]].error = reason.removeprefix("input 0: ")
        return [], None

    def _message(self, request: Indices) -> classifier_pb2.ClassifyRequest:
        return self._predictor._request([self._contents[index] or b"" for index in request])


def _reason(error: grpc.RpcError) -> str:
    return error.details() or error.code().name
