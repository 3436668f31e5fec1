"""triptych.v1.Classifier (protos/triptych/v1/classifier.proto)."""

import math
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import grpc

from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc
from serving.engine import Classification, Engine, Ranked
from serving.errors import InvalidInput, ModelNotFound, TriptychError
from serving.manager import Manager
from serving.observability import Metrics
from serving.protocols.status import number_of, status_of
from serving.version_policy import State

DEFAULT_TOP_K = 5
Context = grpc.aio.ServicerContext[Any, Any]


class ClassifierService(classifier_pb2_grpc.ClassifierServicer):
    """Args: max_inputs: of one request."""

    def __init__(self, engine: Engine, manager: Manager, metrics: Metrics, max_inputs: int):
        self._engine = engine
        self._manager = manager
        self._metrics = metrics
        self._max_inputs = max_inputs

    async def Classify(
        self, request: classifier_pb2.ClassifyRequest, context: Context
    ) -> classifier_pb2.ClassifyResponse:
        started = time.monotonic()
        status = grpc.StatusCode.CANCELLED.name  # unless it is answered
        try:
            response = await self._classify(request)
            status = grpc.StatusCode.OK.name
        except TriptychError as error:
            status = status_of(error).name
            await _abort(context, error)
        finally:
            self._metrics.request(request.model, status, time.monotonic() - started)
        response.timing.total_us = round((time.monotonic() - started) * 1e6)
        return response

    async def ListModels(
        self, request: classifier_pb2.ListModelsRequest, context: Context
    ) -> classifier_pb2.ListModelsResponse:
        response = classifier_pb2.ListModelsResponse()
        for name, versions in self._manager.models().items():
            ready = [status for status in versions.values() if status.manifest is not None]
            summary = response.models.add(name=name)
            summary.versions.extend(s.version for s in ready if s.state is State.READY)
            if ready and ready[0].manifest is not None:
                summary.domain = ready[0].manifest.domain
                summary.classes = len(ready[0].manifest.labels)
        return response

    async def GetModel(
        self, request: classifier_pb2.GetModelRequest, context: Context
    ) -> classifier_pb2.GetModelResponse:
        try:
            return self._get_model(request)
        except TriptychError as error:
            await _abort(context, error)

    async def _classify(
        self, request: classifier_pb2.ClassifyRequest
    ) -> classifier_pb2.ClassifyResponse:
        top_k, min_score = self._check(request)
        version = request.version if request.HasField("version") else None
        inputs = [_item(given) for given in request.inputs]
        answer = await self._engine.classify(request.model, version, inputs, top_k, min_score)
        _refuse_if_none(answer.results)
        return _response(answer)

    def _check(self, request: classifier_pb2.ClassifyRequest) -> tuple[int, float]:
        count = len(request.inputs)
        if not count:
            raise InvalidInput("the request has no inputs: send at least one")
        if count > self._max_inputs:
            raise InvalidInput(
                f"the request has {count:,} inputs, and {self._max_inputs:,} are allowed: split it,"
                " or raise TRIPTYCH_MAX_INPUTS_PER_REQUEST"
            )
        top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
        if top_k < 1:
            raise InvalidInput(f"top_k is {top_k}: it must be at least 1")
        if not (0.0 <= request.min_score <= 1.0) or math.isnan(request.min_score):
            raise InvalidInput(f"min_score is {request.min_score:g}: it must be from 0 to 1")
        return top_k, request.min_score

    def _get_model(
        self, request: classifier_pb2.GetModelRequest
    ) -> classifier_pb2.GetModelResponse:
        versions = self._manager.status(request.model)
        response = classifier_pb2.GetModelResponse(name=request.model)
        for status in versions.values():
            response.versions.add(
                version=status.version,
                state=classifier_pb2.VersionStatus.State.Value(status.state.name),
                reason=status.reason,
                executor=status.executor_name,
            )
        if request.HasField("version") and request.version not in versions:
            known = ", ".join(map(str, versions))
            raise ModelNotFound(
                f"model {request.model!r} has no version {request.version}. It has {known}"
            )
        for status in versions.values():
            wanted = not request.HasField("version") or request.version == status.version
            if wanted and status.state is State.READY and status.manifest is not None:
                response.manifest.CopyFrom(status.manifest)
                break
        return response


def _item(given: classifier_pb2.Input) -> bytes | str | InvalidInput:
    match given.WhichOneof("kind"):
        case "data":
            return given.data
        case "text":
            return given.text
    return InvalidInput("the input is empty: set `data` or `text`")


def _refuse_if_none(results: Sequence[Ranked | TriptychError]) -> None:
    """Raise the first error if nothing was classified; its kind tells the status."""
    errors = [result for result in results if isinstance(result, TriptychError)]
    if len(errors) == len(results):
        more = f" (and {len(errors) - 1:,} other inputs failed)" if len(errors) > 1 else ""
        raise type(errors[0])(f"input 0: {errors[0]}{more}") from errors[0]


def _response(answer: Classification) -> classifier_pb2.ClassifyResponse:
    response = classifier_pb2.ClassifyResponse(model=answer.model, version=answer.version)
    for result in answer.results:
        message = response.results.add()
        if isinstance(result, TriptychError):
            message.error.code = number_of(status_of(result))
            message.error.message = str(result)
            continue
        for label in result.labels:
            message.labels.add(label=label.label, score=label.score, class_id=label.class_id)
    slowest = max((r.timing for r in answer.results if isinstance(r, Ranked)), key=sum)
    response.timing.preprocess_us = slowest.preprocess_us
    response.timing.queue_us = slowest.queue_us
    response.timing.predict_us = slowest.predict_us
    return response


async def _abort(context: Context, error: TriptychError) -> NoReturn:
    await context.abort(status_of(error), str(error))
