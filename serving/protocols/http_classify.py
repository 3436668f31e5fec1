"""POST /v1/classify/MODEL: files or texts in, labels with scores out, as triptych.v1's Classify."""

import time
from typing import Annotated, Any

import grpc
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from serving.engine import Classification, Engine, internal_error
from serving.errors import TriptychError
from serving.observability import Metrics
from serving.protocols.classification import (
    DEFAULT_TOP_K,
    require_in_range,
    require_inputs,
    require_one,
)
from serving.protocols.http_inputs import BODY, read_inputs, require_known, version_or_label
from serving.protocols.http_refusals import code_of, refusal
from serving.protocols.status import details, http_status_of, number_of, status_of
from serving.runtime.ranking import Label
from serving.settings import Settings

PARAMETERS = ("top_k", "min_score", "version")


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
            require_known(request, PARAMETERS)
            number, label = version_or_label(version)
            require_in_range(top_k, min_score)
            with self._engine.acquire(model, number, label):
                pass  # what cannot be answered need not be read
            items = await read_inputs(request, self._max_inputs, self._max_bytes, PARAMETERS)
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
