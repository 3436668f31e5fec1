"""triptych.v1.Classifier: translation and validation. The proto's comments are the reference."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, Self

import grpc

from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc, manifest_pb2
from serving.engine import Classification, Engine, Item, internal_error
from serving.errors import InvalidInput, ModelNotFound, TriptychError
from serving.explainer import Explained, Explainer
from serving.manager import Manager, VersionStatus
from serving.observability import Metrics
from serving.protocols.classification import (
    DEFAULT_TOP_K,
    require_in_range,
    require_inputs,
    require_one,
)
from serving.protocols.explanation import explain
from serving.protocols.status import details, number_of, status_of
from serving.protocols.streams import answered
from serving.protocols.unregistered import Unregistered
from serving.protocols.wire import field
from serving.runtime.explanation import Map
from serving.runtime.opening import Report
from serving.runtime.ranking import Label
from serving.settings import Settings
from serving.version_policy import State

SERVICE = classifier_pb2.DESCRIPTOR.services_by_name["Classifier"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class StreamRequest(NamedTuple):
    """With its size, as protobuf would write all of it anew to know that."""

    message: classifier_pb2.ClassifyStreamRequest
    size: int

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises: DecodeError if it is no ClassifyStreamRequest."""
        return cls(classifier_pb2.ClassifyStreamRequest.FromString(data), len(data))

    def ByteSize(self) -> int:
        return self.size


class ClassifierService(classifier_pb2_grpc.ClassifierServicer):
    def __init__(
        self,
        *,
        engine: Engine,
        explainer: Explainer,
        manager: Manager,
        metrics: Metrics,
        settings: Settings,
        **others: object,
    ) -> None:
        self._engine = engine
        self._explainer = explainer
        self._manager = manager
        self._metrics = metrics
        self._max_inputs = settings.max_inputs_per_request
        self._max_request_bytes = settings.max_request_bytes

    async def Classify(
        self, request: classifier_pb2.ClassifyRequest, context: Context
    ) -> classifier_pb2.ClassifyResponse:
        answer = await self._classify(request)
        if isinstance(answer, TriptychError):
            await context.abort(status_of(answer), details(str(answer)))
        context.set_trailing_metadata(answer.account.metadata())
        return _response(answer)

    async def ClassifyStream(
        self, requests: AsyncIterator[Any], context: Context
    ) -> AsyncIterator[classifier_pb2.ClassifyStreamResponse]:
        """Args: requests: of type StreamRequest."""

        async def answer(request: StreamRequest) -> classifier_pb2.ClassifyStreamResponse:
            asked = request.message
            given = await self._classify(asked.request)
            if isinstance(given, TriptychError):
                return classifier_pb2.ClassifyStreamResponse(id=asked.id, error=_error(given))
            return classifier_pb2.ClassifyStreamResponse(id=asked.id, response=_response(given))

        async with aclosing(
            answered(requests, answer, most_bytes=self._max_request_bytes)
        ) as answers:
            async for response in answers:
                yield response

    async def Explain(
        self, request: classifier_pb2.ExplainRequest, context: Context
    ) -> classifier_pb2.ExplainResponse:
        async with _aborting(context):
            explained = await explain(
                self._explainer,
                self._metrics,
                model=request.model,
                version=request.version if request.HasField("version") else None,
                label=request.version_label or None,
                item=_item(request.input),
                method=request.method,
                wanted=_wanted(request),
            )
            return _explained(explained)

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
                version_labels=self._manager.labels(name),
            )

    async def _classify(
        self, request: classifier_pb2.ClassifyRequest
    ) -> Classification | TriptychError:
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
                top_k=_top_k(request),
                min_score=request.min_score,
                label=request.version_label or None,
            )
            require_one(classification.results)
            status = grpc.StatusCode.OK
            return classification
        except Exception as error:
            refusal = error if isinstance(error, TriptychError) else internal_error(error)
            status = status_of(refusal)
            return refusal
        finally:
            self._metrics.request(model, "triptych", status.name, time.perf_counter() - began)

    def _validate(self, request: classifier_pb2.ClassifyRequest) -> None:
        require_inputs(len(request.inputs), self._max_inputs)
        if request.HasField("version") and request.version_label:
            raise InvalidInput(
                f"the request names version {request.version} and version label "
                f"{request.version_label!r}: leave one of them out"
            )
        require_in_range(_top_k(request), request.min_score)


def add_to_server(service: ClassifierService, server: Unregistered) -> None:
    """As the generated function, but for how a stream's requests are read."""
    write = classifier_pb2.ClassifyStreamResponse.SerializeToString
    handler = grpc.stream_stream_rpc_method_handler(
        service.ClassifyStream, StreamRequest.read, write
    )
    own = grpc.method_handlers_generic_handler(SERVICE, {"ClassifyStream": handler})
    server.add_generic_rpc_handlers((own,))  # the earlier one is asked
    methods: Any = server  # where the stub wants gRPC's own
    classifier_pb2_grpc.add_ClassifierServicer_to_server(service, methods)


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


def _wanted(request: classifier_pb2.ExplainRequest) -> str | int | None:
    match request.WhichOneof("class"):
        case "label":
            return request.label
        case "class_id":
            return request.class_id
        case _:
            return None


def _explained(explained: Explained) -> classifier_pb2.ExplainResponse:
    found = explained.explanation
    return classifier_pb2.ExplainResponse(
        model=explained.model,
        version=explained.version,
        method=explained.method,
        label=classifier_pb2.Label(
            label=explained.label, score=found.score, class_id=found.class_id
        ),
        map=_map(found.values, found.tokens),
        png=found.png,
        timing=classifier_pb2.ExplainTiming(
            total_us=explained.total_us,
            queue_us=explained.queue_us,
            preprocess_us=found.preprocess_us,
            gradients_us=found.gradients_us,
            drawing_us=found.drawing_us,
        ),
    )


def _map(values: Map, tokens: Sequence[str]) -> classifier_pb2.Map:
    message = classifier_pb2.Map(shape=values.shape, tokens=tokens)
    # One by one, 224 x 224 of them would hold up the loop for thirty milliseconds.
    number = classifier_pb2.Map.VALUES_FIELD_NUMBER
    message.MergeFromString(field(number, values.astype("<f4").tobytes()))
    return message


def _top_k(request: classifier_pb2.ClassifyRequest) -> int:
    return request.top_k if request.HasField("top_k") else DEFAULT_TOP_K


def _response(classification: Classification) -> classifier_pb2.ClassifyResponse:
    account = classification.account
    return classifier_pb2.ClassifyResponse(
        model=classification.model,
        version=classification.version,
        results=[_result(result) for result in classification.results],
        timing=classifier_pb2.Timing(
            total_us=classification.total_us,
            preprocess_us=account.decode_us,
            queue_us=account.queue_us,
            predict_us=account.compute_us,
            batch_size=account.batch_size,
            executor=account.executor,
        ),
    )


def _result(result: list[Label] | TriptychError) -> classifier_pb2.Result:
    if isinstance(result, TriptychError):
        return classifier_pb2.Result(error=_error(result))
    found = classifier_pb2.Result()
    for label, score, class_id in result:
        found.labels.add(label=label, score=score, class_id=class_id)
    return found


def _error(error: TriptychError) -> classifier_pb2.Error:
    return classifier_pb2.Error(code=number_of(error), message=details(str(error)))


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
        **_findings(status.report),
    )


def _findings(report: Report | None) -> dict[str, Any]:
    if report is None:
        return {}
    return {
        "precision": report.precision,
        "precision_difference": report.difference,
        "best_batch_size": report.best_batch_size,
        "speeds": [
            classifier_pb2.Speed(
                executor=executor, batch_size=size, examples_per_second=round(speed, 1)
            )
            for executor, speeds in report.speeds.items()
            for size, speed in speeds.items()
        ],
        "notes": report.notes,
    }
