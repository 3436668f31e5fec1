"""triptych.v1.Classifier: translation and validation. The proto's comments are the reference."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc, manifest_pb2
from serving.engine import Classification, Engine, Item, Label, internal_error
from serving.errors import InvalidInput, ModelNotFound, TriptychError
from serving.manager import Manager, VersionStatus
from serving.observability import Metrics
from serving.protocols.status import details, number_of, status_of
from serving.version_policy import State

SERVICE = classifier_pb2.DESCRIPTOR.services_by_name["Classifier"].full_name
DEFAULT_TOP_K = 5

Context = grpc.aio.ServicerContext[Any, Any]


class ClassifierService(classifier_pb2_grpc.ClassifierServicer):
    def __init__(self, engine: Engine, manager: Manager, metrics: Metrics, max_inputs: int) -> None:
        self._engine = engine
        self._manager = manager
        self._metrics = metrics
        self._max_inputs = max_inputs

    async def Classify(
        self, request: classifier_pb2.ClassifyRequest, context: Context
    ) -> classifier_pb2.ClassifyResponse:
        began = time.perf_counter()
        status = grpc.StatusCode.CANCELLED  # by the caller, unless another one follows
        model = request.model
        try:
            self._validate(request)
            model = self._engine.model_name(request.model)
            classification = await self._engine.classify(
                model=model,
                version=request.version if request.HasField("version") else None,
                inputs=[_item(given) for given in request.inputs],
                top_k=request.top_k if request.HasField("top_k") else DEFAULT_TOP_K,
                min_score=request.min_score,
            )
            _require_one(classification.results)
            status = grpc.StatusCode.OK
            return _response(classification)
        except Exception as error:
            refusal = error if isinstance(error, TriptychError) else internal_error(error)
            status = status_of(refusal)
            await context.abort(status, details(str(refusal)))
        finally:
            self._metrics.request(model, status.name, time.perf_counter() - began)

    async def ListModels(
        self, request: classifier_pb2.ListModelsRequest, context: Context
    ) -> classifier_pb2.ListModelsResponse:
        async with _aborting(context):
            models = self._manager.models()
            return classifier_pb2.ListModelsResponse(
                models=[_summary(name, list(models[name].values())) for name in models]
            )

    async def GetModel(
        self, request: classifier_pb2.GetModelRequest, context: Context
    ) -> classifier_pb2.GetModelResponse:
        async with _aborting(context):
            name = self._engine.model_name(request.model)
            versions = self._manager.status(name)
            if not request.HasField("version"):
                described = _newest_ready(list(versions.values()))
            elif request.version in versions:
                described = versions[request.version]
            else:
                known = ", ".join(str(number) for number in versions)
                raise ModelNotFound(
                    f"model {name!r} has no version {request.version}. It has {known}"
                )
            return classifier_pb2.GetModelResponse(
                name=name,
                manifest=described.manifest if described else None,
                versions=[_version(status) for status in versions.values()],
            )

    def _validate(self, request: classifier_pb2.ClassifyRequest) -> None:
        if not request.inputs:
            raise InvalidInput("the request has no inputs: send at least one")
        if len(request.inputs) > self._max_inputs:
            raise InvalidInput(
                f"the request has {len(request.inputs)} inputs, and {self._max_inputs} are "
                "allowed: send several requests, or raise TRIPTYCH_MAX_INPUTS_PER_REQUEST"
            )
        if request.HasField("top_k") and request.top_k < 1:
            raise InvalidInput(
                f"top_k is {request.top_k}: ask for at least 1 label, or leave it out for "
                f"{DEFAULT_TOP_K}"
            )
        if not 0 <= request.min_score <= 1:  # nor is NaN
            raise InvalidInput(f"min_score is {request.min_score:g}: it is from 0 to 1, as scores")


@asynccontextmanager
async def _aborting(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        refusal = error if isinstance(error, TriptychError) else internal_error(error)
        await context.abort(status_of(refusal), details(str(refusal)))


def _item(given: classifier_pb2.Input) -> Item:
    match given.WhichOneof("kind"):
        case "data":
            return given.data
        case "text":
            return given.text
        case _:
            return InvalidInput("the input has neither data nor text: set one of them")


def _require_one(results: Sequence[list[Label] | TriptychError]) -> None:
    """Raises: the first error, if nothing but errors is there to answer with."""
    errors = [(i, result) for i, result in enumerate(results) if isinstance(result, TriptychError)]
    if len(errors) < len(results):
        return
    # What is the server's fault may go well at the next try, so it is what the caller is told.
    ours = [(i, error) for i, error in errors if not isinstance(error, InvalidInput)]
    index, error = (ours or errors)[0]
    others = len(errors) - 1
    more = f" ({others} more of {len(results)} inputs failed)" if others else ""
    raise type(error)(f"input {index}: {error}{more}")


def _response(classification: Classification) -> classifier_pb2.ClassifyResponse:
    return classifier_pb2.ClassifyResponse(
        model=classification.model,
        version=classification.version,
        results=[_result(result) for result in classification.results],
        timing=classifier_pb2.Timing(**classification.timing._asdict()),
    )


def _result(result: list[Label] | TriptychError) -> classifier_pb2.Result:
    if isinstance(result, TriptychError):
        error = classifier_pb2.Error(code=number_of(result), message=details(str(result)))
        return classifier_pb2.Result(error=error)
    return classifier_pb2.Result(
        labels=[classifier_pb2.Label(**label._asdict()) for label in result]
    )


def _newest_ready(versions: Sequence[VersionStatus]) -> VersionStatus | None:
    return next((status for status in versions if status.state is State.READY), None)


def _summary(name: str, versions: Sequence[VersionStatus]) -> classifier_pb2.ModelSummary:
    newest = _newest_ready(versions)
    manifest = newest.manifest if newest else None
    return classifier_pb2.ModelSummary(
        name=name,
        domain=manifest.domain if manifest else manifest_pb2.DOMAIN_UNSPECIFIED,
        versions=[status.version for status in versions if status.state is State.READY],
        classes=len(manifest.labels) if manifest else 0,
    )


def _version(status: VersionStatus) -> classifier_pb2.VersionStatus:
    return classifier_pb2.VersionStatus(
        version=status.version,
        state=classifier_pb2.VersionStatus.State.Value(status.state.name),
        reason=status.reason,
        executor=status.executor_name,
    )
