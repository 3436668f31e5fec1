"""POST /v1/classify/MODEL: files or texts in, labels with scores out, as triptych.v1's Classify.

The body may be a file as it is, a form with files, or JSON; each becomes a list of inputs here.
"""

import asyncio
import base64
import binascii
import json
import time
from typing import Annotated, Any

import grpc
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from serving.engine import Classification, Engine, Item, internal_error
from serving.errors import InvalidInput, TriptychError
from serving.observability import Metrics
from serving.protocols.classification import (
    DEFAULT_TOP_K,
    require_in_range,
    require_inputs,
    require_one,
)
from serving.protocols.http_refusals import code_of, refusal, shown
from serving.protocols.status import details, http_status_of, number_of, status_of
from serving.runtime.ranking import Label
from serving.settings import Settings

RAW_KINDS = ("image/", "audio/", "text/plain", "application/octet-stream", "application/ogg")
CURL_KIND = "application/x-www-form-urlencoded"  # what `curl --data-binary` says of any bytes
TEXT_FIELD = "text"
MOST_JSON_MARKS = 1_000_000  # each may become an object of 80 bytes
MOST_DIGITS = 18  # of a version
PARAMETERS = ("top_k", "min_score", "version")
LARGE_JSON_BYTES = 100_000  # what takes long enough to be read in a thread
KINDS = (
    "send a file as it is (curl --data-binary @FILE), a form (curl -F file=@FILE), or JSON as "
    '{"inputs": ["text", {"b64": "..."}]} with Content-Type: application/json'
)


class LabelAnswer(BaseModel):
    label: str
    score: float
    class_id: int


class ErrorAnswer(BaseModel):
    code: int
    message: str


class Result(BaseModel):
    """One of `labels` and `error`."""

    labels: list[LabelAnswer] = []
    error: ErrorAnswer | None = None


class Timing(BaseModel):
    total_us: int
    preprocess_us: int
    queue_us: int
    predict_us: int
    batch_size: int
    executor: str


class ClassifyAnswer(BaseModel):
    model: str
    version: int
    results: list[Result]
    timing: Timing


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_B64 = {"type": "object", "properties": {"b64": {"type": "string"}}, "required": ["b64"]}
_INPUTS = {"type": "array", "items": {"anyOf": [{"type": "string"}, _B64]}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": _FILES,
                        TEXT_FIELD: {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"inputs": _INPUTS},
                    "required": ["inputs"],
                }
            },
        },
    }
}


class _Classify:
    def __init__(self, engine: Engine, metrics: Metrics, settings: Settings) -> None:
        self._engine = engine
        self._metrics = metrics
        self._max_inputs = settings.max_inputs_per_request
        self._max_bytes = settings.max_request_bytes

    async def __call__(
        self, request: Request, model: str, top_k: int, min_score: float, version: str | None
    ) -> Response:
        began = time.perf_counter()
        status = grpc.StatusCode.CANCELLED  # by the caller, unless another one follows
        try:
            _require_known(request)
            number, label = _version(version)
            require_in_range(top_k, min_score)
            with self._engine.acquire(model, number, label):
                pass  # what cannot be answered need not be read
            items = await self._read(request)
            require_inputs(len(items), self._max_inputs)
            classification = await self._engine.classify(
                model=model,
                version=number,
                inputs=items,
                top_k=top_k,
                min_score=min_score,
                label=label,
            )
            require_one(classification.results)
            status = grpc.StatusCode.OK
            return _answer(classification)
        except HTTPException as error:  # about the body, mostly of the guard
            status = code_of(error)
            raise
        except Exception as error:
            told = error if isinstance(error, TriptychError) else internal_error(error)
            status = status_of(told)
            return refusal(http_status_of(told), str(told))
        finally:
            self._metrics.request(model, "http", status.name, time.perf_counter() - began)

    async def _read(self, request: Request) -> list[Item]:
        """The inputs of a body.

        Raises: InvalidInput if it cannot be told what they are; HTTPException 415 if it comes as
                nothing that is read here.
        """
        if encoding := request.headers.get("content-encoding"):
            raise HTTPException(
                415, f"the body is encoded as {shown(encoding)}: send it without that encoding"
            )
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await self._form(request)
        if kind == "application/json":
            body = await request.body()
            if len(body) < LARGE_JSON_BYTES:
                return _json(body, self._max_inputs)
            return await asyncio.to_thread(_json, body, self._max_inputs)
        if kind and kind != CURL_KIND and not kind.startswith(RAW_KINDS):
            raise HTTPException(415, f"a body of type {shown(kind)} is not read: {KINDS}")
        body = await request.body()
        return [body] if body else []

    async def _form(self, request: Request) -> list[Item]:
        try:
            form = await _Form(request, self._max_inputs, self._max_bytes).parse()
        except MultiPartException as error:
            raise InvalidInput(
                f"the form cannot be read ({error.message.rstrip('.')}): {KINDS}"
            ) from None
        items: list[Item] = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                items.append(await value.read())
                await value.close()
            elif name == TEXT_FIELD:
                items.append(value)
            else:
                items.append(
                    InvalidInput(
                        f"the form's field {shown(name)} is no file: send -F {name[:40]}=@FILE, "
                        f"or a text as -F {TEXT_FIELD}=..."
                    )
                )
        return items


class _Form(MultiPartParser):
    """Starlette's, but counting, and in memory: the body's own limit is enough."""

    spool_max_size = 0  # never to disk

    def __init__(self, request: Request, most_inputs: int, most_bytes: int) -> None:
        super().__init__(
            request.headers,
            request.stream(),
            max_files=most_inputs,
            max_fields=most_inputs,
            max_part_size=most_bytes,
        )
        self._inputs = 0
        self._most_inputs = most_inputs

    def on_part_begin(self) -> None:
        self._inputs += 1
        if self._inputs > self._most_inputs:
            raise InvalidInput(
                f"the form has more than {self._most_inputs} inputs: send several requests, or "
                "raise TRIPTYCH_MAX_INPUTS_PER_REQUEST"
            )
        super().on_part_begin()


def _json(body: bytes, most_inputs: int) -> list[Item]:
    marks = sum(body.count(mark) for mark in (b"[", b"{", b'"', b","))
    if marks > MOST_JSON_MARKS:
        raise InvalidInput(
            f"the JSON has {marks:,} brackets, quotes and commas, and {MOST_JSON_MARKS:,} are "
            "allowed: send large inputs as files, or several requests"
        )
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON ({error}): {KINDS}") from None
    if not isinstance(given, dict) or given.keys() != {"inputs"}:
        found = f"the keys {shown(sorted(given))}" if isinstance(given, dict) else "no object"
        raise InvalidInput(f'the JSON has {found}, and should have "inputs" alone: {KINDS}')
    inputs = given["inputs"]
    if not isinstance(inputs, list):
        raise InvalidInput(f"the JSON's inputs are {shown(inputs)}, and should be a list: {KINDS}")
    require_inputs(len(inputs), most_inputs)
    return [_item(one) for one in inputs]


def _item(given: Any) -> Item:
    if isinstance(given, str):
        return given
    if not isinstance(given, dict) or given.keys() != {"b64"} or not isinstance(given["b64"], str):
        return InvalidInput(
            f'the input is {_shown_json(given)}: send a text, or {{"b64": "..."}} for bytes'
        )
    try:
        return base64.b64decode(given["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        return InvalidInput(f"the input's b64 is not base64 ({error}): encode it again")


def _shown_json(given: Any) -> str:
    """Not the whole of it, which may be large."""
    if isinstance(given, dict):
        return f"an object with the keys {shown(sorted(given)[:4])}"
    return "a list" if isinstance(given, list) else shown(given)


def _require_known(request: Request) -> None:
    for name in request.query_params:
        if name not in PARAMETERS:
            raise InvalidInput(
                f"there is no query parameter {shown(name)}: there are {', '.join(PARAMETERS)}"
            )


def _version(given: str | None) -> tuple[int | None, str | None]:
    """A number, or else a label."""
    if given is None:
        return None, None
    if given.isascii() and given.isdigit() and len(given) <= MOST_DIGITS:
        return int(given), None
    return None, given


def _answer(classification: Classification) -> Response:
    account = classification.account
    answer = {
        "model": classification.model,
        "version": classification.version,
        "results": [_result(result) for result in classification.results],
        "timing": {
            "total_us": classification.total_us,
            "preprocess_us": account.decode_us,
            "queue_us": account.queue_us,
            "predict_us": account.compute_us,
            "batch_size": account.batch_size,
            "executor": account.executor,
        },
    }
    return JSONResponse(answer, headers=dict(account.metadata()))


def _result(result: list[Label] | TriptychError) -> dict[str, Any]:
    if isinstance(result, TriptychError):
        return {"error": {"code": number_of(result), "message": details(str(result))}}
    return {"labels": [label._asdict() for label in result]}


def router(*, engine: Engine, metrics: Metrics, settings: Settings, **others: object) -> APIRouter:
    routes = APIRouter(tags=["classify"])
    classify = _Classify(engine, metrics, settings)

    @routes.post(
        "/v1/classify/{model}",
        summary="Files or texts in, labels with scores out",
        response_model=None,
        responses={200: {"model": ClassifyAnswer}},
        openapi_extra=BODY,
    )
    async def classify_(
        request: Request,
        model: str,
        top_k: Annotated[int, Query(description="labels of an input, best first")] = DEFAULT_TOP_K,
        min_score: Annotated[float, Query(description="labels below it are left out")] = 0.0,
        version: Annotated[str | None, Query(description="a number, or a version label")] = None,
    ) -> Response:
        return await classify(request, model, top_k, min_score, version)

    return routes
