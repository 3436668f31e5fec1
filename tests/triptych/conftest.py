"""A remote end written by hand: a Classifier that answers as it is told."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from protos.triptych.v1 import classifier_pb2 as pb
from protos.triptych.v1 import classifier_pb2_grpc, manifest_pb2

BAD = "bad"  # an input that holds this cannot be classified
HOLD_SECONDS = 20.0


class Remote(classifier_pb2_grpc.ClassifierServicer):
    """Each input's best label is its own text or bytes, so that an answer tells whose it is."""

    def __init__(self) -> None:
        self.address = ""
        self.models: list[pb.ModelSummary] = []
        self.in_full: dict[str, pb.GetModelResponse] = {}
        self.requests: list[pb.ClassifyRequest] = []
        self.list_error: tuple[grpc.StatusCode, str] | None = None
        # The text whose answer a request waits for.
        self.hold: Callable[[pb.ClassifyRequest], str | None] = lambda request: None
        self._answered: dict[str, threading.Event] = defaultdict(threading.Event)

    def add(self, name: str, domain: str, *versions: int) -> None:
        number = manifest_pb2.Domain.Value(f"DOMAIN_{domain.upper()}")
        self.models.append(pb.ModelSummary(name=name, domain=number, versions=versions, classes=3))

    def ListModels(self, request, context):
        if self.list_error:
            context.abort(*self.list_error)
        return pb.ListModelsResponse(models=self.models)

    def GetModel(self, request, context):
        self._known(request.model, context)
        if request.model in self.in_full:
            return self.in_full[request.model]
        state = pb.VersionStatus.State.FAILED
        versions = [pb.VersionStatus(version=7, state=state, reason="half-copied")]
        return pb.GetModelResponse(name=request.model, versions=versions)

    def Classify(self, request, context):
        self.requests.append(request)
        self._known(request.model, context)
        awaited = self.hold(request)
        if awaited and not self._answered[awaited].wait(HOLD_SECONDS):
            context.abort(grpc.StatusCode.INTERNAL, f"{awaited} never came")
        said = [item.text or item.data.decode(errors="replace")[:20] for item in request.inputs]
        if all(BAD in text for text in said):
            reason = f"input 0: {said[0]} cannot be classified"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
        response = pb.ClassifyResponse(model=request.model, version=request.version or 3)
        response.timing.total_us = 1500
        for text in said:
            if BAD in text:
                error = pb.Error(code=3, message=f"{text} cannot be classified")
                response.results.add(error=error)
            else:
                labels = [pb.Label(label=text, score=0.75), pb.Label(label="other", score=0.25)]
                response.results.add(labels=labels[: request.top_k])
            self._answered[text].set()
        return response

    def _known(self, name, context) -> None:
        names = [model.name for model in self.models]
        if name not in names:
            reason = f"no model {name!r}; known: {', '.join(names)}"
            context.abort(grpc.StatusCode.NOT_FOUND, reason)


@pytest.fixture
def remote() -> Iterator[Remote]:
    """Listens on a free port, with no model yet."""
    service = Remote()
    unlimited = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(32), options=unlimited)
    classifier_pb2_grpc.add_ClassifierServicer_to_server(service, server)
    service.address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    yield service
    server.stop(0).wait()
