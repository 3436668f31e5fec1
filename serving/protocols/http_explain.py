"""POST /v1/explain/MODEL: a file or text in, what in it speaks for a class out: a PNG, or JSON."""

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from serving.engine import Engine
from serving.errors import InvalidInput, TriptychError
from serving.explainer import Explained, Explainer
from serving.observability import Metrics
from serving.protocols.explanation import explain
from serving.protocols.http_classify import LabelAnswer
from serving.protocols.http_inputs import BODY, read_inputs, require_known, version_or_label
from serving.protocols.http_refusals import refusal
from serving.protocols.status import http_status_of
from serving.runtime.explanation import DEFAULT_METHOD, METHODS
from serving.settings import Settings

PARAMETERS = ("method", "class", "version")
PNG = "image/png"


class ExplainTiming(BaseModel):
    total_us: int
    queue_us: int
    preprocess_us: int
    gradients_us: int
    drawing_us: int


class ExplainAnswer(BaseModel):
    """values: rows of a picture, frames of a sound; or one list, for the tokens of a text."""

    model: str
    version: int
    method: str
    label: LabelAnswer
    shape: list[int]
    values: list[list[float]] | list[float]
    tokens: list[str]
    timing: ExplainTiming


def router(
    *,
    engine: Engine,
    explainer: Explainer,
    metrics: Metrics,
    settings: Settings,
    **others: object,
) -> APIRouter:
    routes = APIRouter(tags=["explain"])

    @routes.post(
        "/v1/explain/{model}",
        summary="A file or text in, a map of what speaks for a class out (PNG or JSON, by Accept)",
        response_model=None,
        responses={200: {"model": ExplainAnswer, "content": {PNG: {}}}},
        openapi_extra=BODY,
    )
    async def explain_(
        request: Request,
        model: str,
        method: Annotated[str, Query(description=", ".join(METHODS))] = DEFAULT_METHOD,
        wanted: Annotated[str | None, Query(alias="class", description="a label; the best")] = None,
        version: Annotated[str | None, Query(description="a number, or a version label")] = None,
    ) -> Response:
        try:
            require_known(request, PARAMETERS)
            number, label = version_or_label(version)
            with engine.acquire(model, number, label):
                pass  # what cannot be answered need not be read
            items = await read_inputs(request, 1, settings.max_request_bytes, PARAMETERS)
            if len(items) != 1:
                raise InvalidInput("the request has no input: send one")
            explained = await explain(
                explainer,
                metrics,
                model=model,
                version=number,
                label=label,
                item=items[0],
                method=method,
                wanted=wanted,
            )
        except TriptychError as error:
            return refusal(http_status_of(error), str(error))
        if PNG in request.headers.get("accept", ""):
            return Response(explained.explanation.png, media_type=PNG)
        # Not on the loop: of a picture of 224 x 224 it takes a tenth of a second.
        body = await asyncio.to_thread(_json, explained)
        return Response(body, media_type="application/json")

    return routes


def _json(explained: Explained) -> str:
    """Row by row, as nobody has the interpreter while one is written."""
    rows = ",".join(json.dumps(row.tolist()) for row in explained.explanation.values)
    return f'{json.dumps(_about(explained))[:-1]}, "values": [{rows}]}}'


def _about(explained: Explained) -> dict[str, object]:
    """All but the values."""
    found = explained.explanation
    return {
        "model": explained.model,
        "version": explained.version,
        "method": explained.method,
        "label": {"label": explained.label, "score": found.score, "class_id": found.class_id},
        "shape": list(found.values.shape),
        "tokens": list(found.tokens),
        "timing": {
            "total_us": explained.total_us,
            "queue_us": explained.queue_us,
            "preprocess_us": found.preprocess_us,
            "gradients_us": found.gradients_us,
            "drawing_us": found.drawing_us,
        },
    }
