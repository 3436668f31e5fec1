"""TensorFlow Serving's REST interface, /v1/models/...: addresses, bodies, errors.

What the calls mean is `tensorflow_serving_inference`'s matter, and their JSON is
`tensorflow_serving_json`'s.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import unquote

from fastapi import APIRouter, Request
from fastapi.responses import Response
from google.protobuf import json_format
from starlette.exceptions import HTTPException
from tensorflow_serving.apis import get_model_metadata_pb2, input_pb2

from serving.account import Account
from serving.engine import Engine
from serving.manager import Manager
from serving.observability import Metrics
from serving.protocols.http_refusals import code_of
from serving.protocols.http_refusals import refusal as refused_as
from serving.protocols.status import HTTP
from serving.protocols.tensorflow_serving import SIGNATURE_DEF, metadata_of
from serving.protocols.tensorflow_serving_inference import Inference, rest_endpoint
from serving.protocols.tensorflow_serving_json import (
    SIGNATURE,
    parse,
    predict_inputs,
    predictions,
    results_of_classes,
    results_of_values,
)
from serving.protocols.tensorflow_serving_json_examples import fill_input
from serving.protocols.tensorflow_serving_models import PROTOCOL, status_of
from serving.protocols.tensorflow_serving_status import Code, Spec, invalid, refusal
from serving.settings import Settings

T = TypeVar("T")

VERSION = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
CALL = re.compile(rf"(?i)/v1/models/(?P<model>[^/:]+){VERSION}:(?P<verb>classify|regress|predict)")
ASK = re.compile(rf"(?i)/v1/models(?:/(?P<model>[^/:]+))?{VERSION}(?:/(?P<about>metadata))?")
LARGE_BYTES = 100_000  # of JSON: what takes long enough to be read or written in a thread
LARGE_SIZE = 10_000  # of outputs, in numbers
MOST_VERSION = 2**63 - 1

Verb = Callable[[Spec, dict[str, Any], bool], Awaitable[tuple[dict[str, Any] | bytes, Account]]]


class _Rest:
    def __init__(
        self, engine: Engine, manager: Manager, metrics: Metrics, settings: Settings
    ) -> None:
        self._manager = manager
        self._metrics = metrics
        self._inference = Inference(engine, settings)
        self._verbs: dict[str, Verb] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    async def call(self, request: Request) -> Response:
        return await self._answer(request, CALL, self._call)

    async def ask(self, request: Request) -> Response:
        return await self._answer(request, ASK, self._ask)

    async def _answer(
        self,
        request: Request,
        address: re.Pattern[str],
        work: Callable[[Request, re.Match[str], Spec], Awaitable[Response]],
    ) -> Response:
        began = time.perf_counter()
        code = Code.CANCELLED  # by the caller, unless another one follows
        spec = None
        try:
            path = request.scope.get("raw_path", b"").decode(errors="replace").partition("?")[0]
            found = address.fullmatch(path or request.url.path)
            if found is None:
                raise invalid(f"Malformed request: {request.method} {path}")
            spec = _spec(found)
            response = await work(request, found, spec)
            code = Code.OK
            return response
        except HTTPException as error:  # of the guard, about the body
            code = code_of(error)
            raise
        except Exception as error:
            refused = refusal(error, spec)
            code = refused.code
            return refused_as(HTTP[code], refused.text)
        finally:
            model = spec.model if spec else ""
            self._metrics.request(model, PROTOCOL, code.name, time.perf_counter() - began)

    async def _call(self, request: Request, found: re.Match[str], spec: Spec) -> Response:
        if found["verb"] not in self._verbs:  # which the address takes in capitals too
            raise invalid(f"Malformed request: POST {found[0]}")
        body = await request.body()
        large = len(body) > LARGE_BYTES
        document = await _run(large, parse, body)
        spec = spec._replace(signature=document.get(SIGNATURE, ""))
        answer, account = await self._verbs[found["verb"]](spec, document, large)
        if isinstance(answer, dict):
            answer = _dumped(answer)
        return Response(answer, media_type="application/json", headers=dict(account.metadata()))

    async def _predict(
        self, spec: Spec, document: dict[str, Any], large: bool
    ) -> tuple[bytes, Account]:
        with self._inference.acquire(spec) as handle:
            endpoint = rest_endpoint(handle, spec.signature)
            inputs, by_rows = await _run(large, predict_inputs, document, endpoint)
            answer = await self._inference.predict(handle, endpoint, inputs)
        many = sum(value.size for value in answer.outputs.values()) > LARGE_SIZE

        def write() -> bytes:
            return _dumped(predictions(answer.outputs, by_rows))

        return await _run(many, write), answer.account

    async def _classify(
        self, spec: Spec, document: dict[str, Any], large: bool
    ) -> tuple[dict[str, Any], Account]:
        given = input_pb2.Input()
        await _run(large, fill_input, given, document)
        with self._inference.acquire(spec) as handle:
            classes, account = await self._inference.classify(handle, spec.signature, given)
        return results_of_classes(classes), account

    async def _regress(
        self, spec: Spec, document: dict[str, Any], large: bool
    ) -> tuple[dict[str, Any], Account]:
        given = input_pb2.Input()
        await _run(large, fill_input, given, document)
        with self._inference.acquire(spec) as handle:
            values, account = await self._inference.regress(handle, spec.signature, given)
        return results_of_values(values), account

    async def _ask(self, request: Request, found: re.Match[str], spec: Spec) -> Response:
        if not spec.model:
            raise invalid("Missing model name in request.")
        if found["about"] is None:
            text = json_format.MessageToJson(
                status_of(self._manager, spec.model, spec.version),
                always_print_fields_with_no_presence=True,
            )
            return Response(text, media_type="application/json")
        metadata = metadata_of(self._inference, spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        metadata.metadata[SIGNATURE_DEF].Unpack(signatures)
        answer = {
            "model_spec": _as_json(metadata.model_spec),
            "metadata": {SIGNATURE_DEF: _as_json(signatures)},
        }
        return Response(_dumped(answer), media_type="application/json")


def _spec(found: re.Match[str]) -> Spec:
    version = found["version"]
    # Beyond an int64's digits Python would have to count for long.
    if version is not None and (len(version) > 19 or int(version) > MOST_VERSION):
        raise invalid(f"Failed to convert version: {version[:100]} to numeric.")
    label = found["label"]
    return Spec(
        unquote(found["model"] or ""),
        None if version is None else int(version),
        None if label is None else unquote(label),
    )


async def _run(in_thread: bool, work: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.to_thread(work, *arguments) if in_thread else work(*arguments)


def _as_json(message: Any) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _dumped(answer: dict[str, Any]) -> bytes:
    """NaN and Infinity are written, though JSON has no such words: as the reference does."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


_TEXT = {"type": "string"}
_BODIES: dict[str, dict[str, Any]] = {
    "predict": {
        SIGNATURE: _TEXT,
        "instances": {"type": "array", "items": {}},
        "inputs": {},
    },
    "classify": {
        SIGNATURE: _TEXT,
        "context": {"type": "object"},
        "examples": {"type": "array", "items": {"type": "object"}},
    },
}
_BODIES["regress"] = _BODIES["classify"]
_SUMMARIES = {
    "predict": "Tensors in, tensors out: by rows (instances) or columns (inputs)",
    "classify": "Examples in, classes with scores out",
    "regress": "Examples in, numbers out",
    "": "The states of a model's versions",
    "/metadata": "A model's signatures",
}
_WHICH = {"": (), "/versions/{version}": ("version",), "/labels/{label}": ("label",)}


def router(
    *, engine: Engine, manager: Manager, metrics: Metrics, settings: Settings, **others: object
) -> APIRouter:
    routes = APIRouter(tags=["TensorFlow Serving"])
    rest = _Rest(engine, manager, metrics, settings)

    def add(path: str, verb: str, names: tuple[str, ...], **extra: Any) -> None:
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": _TEXT}
            for name in ("model", *names)
        ]
        routes.add_api_route(
            path,
            rest.call if "requestBody" in extra else rest.ask,
            methods=["POST" if "requestBody" in extra else "GET"],
            summary=_SUMMARIES[verb],
            response_model=None,
            openapi_extra={"parameters": parameters, **extra},
        )

    for which, names in _WHICH.items():
        for verb, properties in _BODIES.items():
            schema = {"type": "object", "properties": properties}
            content = {"application/json": {"schema": schema}}
            body = {"required": True, "content": content}
            add(f"/v1/models/{{model}}{which}:{verb}", verb, names, requestBody=body)
        for about in ("", "/metadata"):
            add(f"/v1/models/{{model}}{which}{about}", about, names)
    # What is not written as it should be, and what is missing.
    for path in ("/v1/models", "/v1/models/{rest:path}"):
        routes.add_api_route(path, rest.ask, methods=["GET"], include_in_schema=False)
        routes.add_api_route(path, rest.call, methods=["POST"], include_in_schema=False)
    return routes
