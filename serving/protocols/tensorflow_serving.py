"""TensorFlow Serving's PredictionService over gRPC: messages to arrays, and back.

What the calls mean is `tensorflow_serving_inference`'s matter, and ModelService is
`tensorflow_serving_models`'.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_service_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.engine import Engine
from serving.observability import Metrics
from serving.protocols.tensorflow_serving_inference import (
    MANY_CLASSES,
    PREDICT,
    Array,
    Classes,
    Inference,
    Task,
    predict_endpoint,
)
from serving.protocols.tensorflow_serving_models import PROTOCOL, ModelService
from serving.protocols.tensorflow_serving_request import PredictRequest, Reader, spec_in, spec_of
from serving.protocols.tensorflow_serving_response import fill_spec, response
from serving.protocols.tensorflow_serving_status import Code, Spec, cut, invalid, refusal
from serving.protocols.tensorflow_serving_tensors import type_number
from serving.protocols.unregistered import Unregistered
from serving.runtime.endpoint import Endpoint, TensorSpec
from serving.settings import Settings

__all__ = ["SERVICES", "ModelService", "PredictionService"]

SERVICES = (
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)
SIGNATURE_DEF = "signature_def"
Context = grpc.aio.ServicerContext[Any, Any]


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    def __init__(
        self, *, engine: Engine, metrics: Metrics, settings: Settings, **others: object
    ) -> None:
        self._metrics = metrics
        self._inference = Inference(engine, settings)
        self.reader = Reader(self._inference.limits.total_bytes)

    async def Predict(self, request: PredictRequest, context: Context) -> bytes:
        written: bytes = await self._answer(request, context, self._predict, self.reader.spec)
        return written

    async def Classify(
        self, request: classification_pb2.ClassificationRequest, context: Context
    ) -> classification_pb2.ClassificationResponse:
        return await self._answer(request, context, self._classify)

    async def Regress(
        self, request: regression_pb2.RegressionRequest, context: Context
    ) -> regression_pb2.RegressionResponse:
        return await self._answer(request, context, self._regress)

    async def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: Context
    ) -> inference_pb2.MultiInferenceResponse:
        return await self._answer(request, context, self._infer_many, _spec_of_first)

    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: Context
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        return await self._answer(request, context, self._metadata)

    async def _answer(
        self,
        request: Any,
        context: Context,
        work: Callable[[Any, Spec, Context], Awaitable[Any]],
        spec_in: Callable[[Any], Spec] = spec_in,
    ) -> Any:
        began = time.perf_counter()
        code = Code.CANCELLED  # by the caller, unless another one follows
        spec = Spec("")
        try:
            spec = spec_in(request)
            response = await work(request, spec, context)
            code = Code.OK
            return response
        except Exception as error:
            refused = refusal(error, spec)
            code = refused.code
            await context.abort(code, cut(refused.text))
        finally:
            self._metrics.request(spec.model, PROTOCOL, code.name, time.perf_counter() - began)

    async def _predict(self, request: PredictRequest, spec: Spec, context: Context) -> bytes:
        with self._inference.acquire(spec) as handle:
            endpoint = predict_endpoint(handle, spec.signature)
            if request.is_slow:
                inputs = await asyncio.to_thread(self.reader.inputs, request, endpoint)
            else:
                inputs = self.reader.inputs(request, endpoint)
            wanted = self.reader.wanted(request)
            answer = await self._inference.predict(handle, endpoint, inputs, wanted)
        context.set_trailing_metadata(answer.account.metadata())
        return response(spec, answer)

    async def _classify(
        self, request: classification_pb2.ClassificationRequest, spec: Spec, context: Context
    ) -> classification_pb2.ClassificationResponse:
        with self._inference.acquire(spec) as handle:
            classes, account = await self._inference.classify(handle, spec.signature, request.input)
        context.set_trailing_metadata(account.metadata())
        response = classification_pb2.ClassificationResponse()
        fill_spec(response.model_spec, spec, handle.version)
        await _fill_classes(response.result, classes)
        return response

    async def _regress(
        self, request: regression_pb2.RegressionRequest, spec: Spec, context: Context
    ) -> regression_pb2.RegressionResponse:
        with self._inference.acquire(spec) as handle:
            values, account = await self._inference.regress(handle, spec.signature, request.input)
        context.set_trailing_metadata(account.metadata())
        response = regression_pb2.RegressionResponse()
        fill_spec(response.model_spec, spec, handle.version)
        _fill_values(response.result, values)
        return response

    async def _infer_many(
        self, request: inference_pb2.MultiInferenceRequest, spec: Spec, context: Context
    ) -> inference_pb2.MultiInferenceResponse:
        tasks = [Task(spec_of(task.model_spec), task.method_name) for task in request.tasks]
        with self._inference.acquire(spec) as handle:
            results, account = await self._inference.infer_many(handle, tasks, request.input)
        context.set_trailing_metadata(account.metadata())
        response = inference_pb2.MultiInferenceResponse()
        for result in results:
            filled = response.results.add()
            fill_spec(filled.model_spec, result.spec, handle.version)
            if result.classes is not None:
                await _fill_classes(filled.classification_result, result.classes)
            if result.values is not None:
                _fill_values(filled.regression_result, result.values)
        return response

    async def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, spec: Spec, context: Context
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported; ask for {SIGNATURE_DEF}")
        return metadata_of(self._inference, spec)


def metadata_of(
    inference: Inference, spec: Spec
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with inference.acquire(spec) as handle:
        response.model_spec.name = handle.name
        response.model_spec.version.value = handle.version
        for name, endpoint in handle.loaded.servable.endpoints.items():
            _fill_signature(signatures.signature_def[name], endpoint)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def add_to_server(service: PredictionService, server: Unregistered) -> None:
    """As the generated function, whose own handler would copy each tensor as it parses it."""
    handler = grpc.unary_unary_rpc_method_handler(service.Predict, service.reader.read, bytes)
    own = grpc.method_handlers_generic_handler(SERVICES[0], {"Predict": handler})
    server.add_generic_rpc_handlers((own,))  # the earlier one is asked
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)


def _spec_of_first(request: inference_pb2.MultiInferenceRequest) -> Spec:
    """The version is that of the first task."""
    first = request.tasks[0] if request.tasks else inference_pb2.InferenceTask()
    return spec_of(first.model_spec)


async def _fill_classes(result: Any, classes: Classes) -> None:
    given = classes.labels if classes.labels is not None else classes.scores
    if given is not None and given.size > MANY_CLASSES:
        await asyncio.to_thread(_write_classes, result, classes, len(given))
    elif given is not None:
        _write_classes(result, classes, len(given))


def _write_classes(result: Any, classes: Classes, examples: int) -> None:
    for i in range(examples):
        add = result.classifications.add().classes.add
        labels = [] if classes.labels is None else classes.labels[i].tolist()
        scores = [] if classes.scores is None else classes.scores[i].tolist()
        for k in range(max(len(labels), len(scores))):
            one = add()
            if labels:
                one.label = labels[k].decode(errors="replace")  # no Unicode is no text
            if scores:
                one.score = scores[k]


def _fill_values(result: Any, values: Array) -> None:
    for value in values.tolist():
        result.regressions.add().value = value


def _fill_signature(message: Any, endpoint: Endpoint) -> None:
    message.method_name = PREDICT  # as every signature of TensorFlow 2 says
    for name, spec in endpoint.inputs.items():
        _fill_tensor(message.inputs[name], endpoint, spec)
    for name, spec in endpoint.outputs.items():
        _fill_tensor(message.outputs[name], endpoint, spec)


def _fill_tensor(message: Any, endpoint: Endpoint, spec: TensorSpec) -> None:
    message.name = f"{endpoint.name}_{spec.name}:0"
    message.dtype = type_number(spec.dtype)
    if spec.shape is None:
        message.tensor_shape.unknown_rank = True
        return
    message.tensor_shape.SetInParent()
    for size in spec.shape:
        message.tensor_shape.dim.add().size = -1 if size is None else size
