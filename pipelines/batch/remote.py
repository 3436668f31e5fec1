"""A version that a server has, as `TablePredictor` uses one: by the Open Inference Protocol.

Inputs are decoded and cut here, by what cuts them for the other engines; all that the artefact
computes, `preprocess` first, is computed there. So the rows are the same, whatever they are of.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc

from pipelines.batch.errors import BatchError
from pipelines.batch.model import identity
from pipelines.batch.schema import ModelIdentity
from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc, manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.decoding import Limits, decode
from serving.runtime.servable import Decoded

LANES = 8  # requests of chunks that are under way at once
REQUEST_BYTES = 4 * 2**20
CALL_SECONDS = 600.0
TRIES = 8
FIRST_WAIT_SECONDS = 0.1  # between two tries, then twice as long each time
Code = grpc.StatusCode
# The server has too much to do, or is being replaced: a later try may go well.
PASSING = (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
TOO_LARGE = "larger than max"  # gRPC's words; a full queue has the same status
NO_ENDPOINT = "has no endpoint"  # triptych's
DECODED = {"image": "image", "audio": "waveform", "text": "text"}  # what `preprocess` takes
DATATYPES = {"float32": "FP32", "int32": "INT32", "int64": "INT64", "uint8": "UINT8"}
DTYPES = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}

Tensors = Mapping[str, Any]


class Server:
    """A channel to it."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if address.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]"):
            options.append(("grpc.enable_http_proxy", 0))
        channel = grpc.insecure_channel(address, options)
        self.classifier = classifier_pb2_grpc.ClassifierStub(channel)
        self.inference = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    def find(self, model: str) -> tuple[ModelIdentity, manifest_pb2.Manifest]:
        """
        Args:   model: NAME, for the newest version that is ready, or NAME/VERSION.
        Raises: BatchError if the server or the version is not there.
        """
        name, _, number = model.rpartition("/")
        request = classifier_pb2.GetModelRequest(model=model)
        if name and number.isdecimal():
            request = classifier_pb2.GetModelRequest(model=name, version=int(number))
        try:
            answer = self.classifier.GetModel(request, timeout=30)
        except grpc.RpcError as error:
            raise self.failed(reason_of(error)) from None
        ready = [
            v.version for v in answer.versions if v.state == classifier_pb2.VersionStatus.READY
        ]
        version = request.version if request.HasField("version") else max(ready, default=0)
        if version not in ready:
            raise BatchError(f"{self.address} has no version of {model} that is ready")
        return identity(answer.manifest, version), answer.manifest

    def failed(self, reason: str) -> BatchError:
        return BatchError(
            f"the server at {self.address} does not answer ({reason}): see that it runs "
            "and has the model; the same command goes on"
        )


class RemoteVersion:
    """A `Runtime`, and its own executor, whose lanes are requests.

    Raises: InvalidInput where the server refuses an input, BatchError if it doesn't come back.
    """

    name, precision, threads = "server", "f32", 1
    lanes = LANES

    def __init__(
        self, server: Server, model: ModelIdentity, manifest: manifest_pb2.Manifest, limits: Limits
    ) -> None:
        self._server = server
        self._model = model
        self._limits = limits
        self.manifest = manifest
        self.executor = self

    def has(self, endpoint: str) -> bool:
        try:  # of an endpoint that is there, the inputs are missing
            self._infer(endpoint, [{}])
        except InvalidInput as refusal:
            return NO_ENDPOINT not in str(refusal)
        return True

    def decode(self, item: bytes | str) -> Decoded:
        return decode(item, self.manifest.input, self._limits)

    def preprocess(self, decoded: Decoded) -> npt.NDArray[Any]:
        (found,) = self._infer("preprocess", [{DECODED[self._model.domain]: decoded}])
        return found["example"]

    def run(self, *parts: Any, alone: bool = False) -> dict[str, npt.NDArray[Any]]:
        """As an executor: `predict`, of examples with batch axis. As a servable: of an endpoint by
        its name what it takes."""
        if isinstance(parts[0], str):
            endpoint, inputs = parts
            if inputs.keys() != {"examples"}:
                return self._infer(endpoint, [inputs])[0]
            parts = (inputs,)
        else:
            endpoint = "predict"
        examples = np.concatenate([part["examples"] for part in parts])
        rows = max(1, REQUEST_BYTES // examples[0].nbytes)
        pieces = [
            {"examples": examples[first : first + rows]} for first in range(0, len(examples), rows)
        ]
        answers = self._infer(endpoint, pieces)
        return {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}

    def close(self) -> None:
        pass

    def _infer(
        self, endpoint: str, requests: Sequence[Tensors]
    ) -> list[dict[str, npt.NDArray[Any]]]:
        """All at once, and again what could not be answered yet."""
        answers: dict[int, dict[str, npt.NDArray[Any]]] = {}
        tries, wait = 0, FIRST_WAIT_SECONDS
        while True:
            calls = {
                number: self._server.inference.ModelInfer.future(
                    self._message(endpoint, tensors), timeout=CALL_SECONDS
                )
                for number, tensors in enumerate(requests)
                if number not in answers
            }
            passing = None
            before = len(answers)
            for number, call in calls.items():
                try:
                    answers[number] = _read(call.result())
                except grpc.RpcError as error:
                    passing = self._why_later(error)
            if passing is None:
                return [answers[number] for number in range(len(requests))]
            if len(answers) > before:  # it goes on, if slowly
                tries, wait = 0, FIRST_WAIT_SECONDS
            tries += 1
            if tries >= TRIES:
                raise self._server.failed(passing)
            time.sleep(wait)
            wait *= 2

    def _why_later(self, error: grpc.RpcError) -> str:
        """Raises what `error` means where a later try cannot go well."""
        reason, code = reason_of(error), error.code()
        if TOO_LARGE in reason or code is Code.INVALID_ARGUMENT:
            raise InvalidInput(reason.removeprefix("[request id: <id_unknown>] ")) from None
        if code in PASSING:
            return reason
        if code is Code.INTERNAL:
            raise RuntimeError(reason) from None
        raise self._server.failed(reason) from None

    def _message(self, endpoint: str, tensors: Tensors) -> Any:
        message = service_pb2.ModelInferRequest(
            model_name=self._model.name, model_version=str(self._model.version)
        )
        message.parameters["endpoint"].string_param = endpoint
        for name, value in tensors.items():
            if isinstance(value, str):
                text = value.encode()
                message.inputs.add(name=name, datatype="BYTES", shape=[])
                message.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
            else:
                message.inputs.add(
                    name=name, datatype=DATATYPES[value.dtype.name], shape=value.shape
                )
                message.raw_input_contents.append(value.tobytes())
        return message


def reason_of(error: grpc.RpcError) -> str:
    return error.details() or error.code().name


def _read(answer: Any) -> dict[str, npt.NDArray[Any]]:
    return {
        output.name: np.frombuffer(raw, DTYPES[output.datatype]).reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
