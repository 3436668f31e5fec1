"""Every refusal over HTTP as {"error": ...}. Which status an error has, `status` says."""

from collections.abc import Sequence

import grpc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from serving.errors import TriptychError
from serving.protocols.status import http_status_of

# What is wrong with a body, or with how it comes, as metrics count it.
CODES = {
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
}  # all others: INVALID_ARGUMENT
MAX_SHOWN_CHARACTERS = 80  # of a value that a message repeats
MAX_TEXT_CHARACTERS = 2_000


class Refusal(BaseModel):
    """The body of every answer that is an error."""

    error: str


def code_of(error: HTTPException) -> grpc.StatusCode:
    return CODES.get(error.status_code, grpc.StatusCode.INVALID_ARGUMENT)


def refusal(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Text that holds what is no Unicode, as a path may, is sent all the same."""
    if len(text) > MAX_TEXT_CHARACTERS:
        text = f"{text[:MAX_TEXT_CHARACTERS]}..."
    sendable = text.encode(errors="replace").decode()
    return JSONResponse({"error": sendable}, status, headers)


def shown(value: object) -> str:
    """A client's value as a message repeats it: quoted, and not endless."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def install_handlers(app: FastAPI) -> None:
    """A router may still answer its own errors, where its protocol has another form for them."""

    @app.exception_handler(TriptychError)
    async def domain(request: Request, error: TriptychError) -> JSONResponse:
        return refusal(http_status_of(error), str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(400, "; ".join(_told(one) for one in error.errors()))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        text = error.detail
        if error.status_code == 404 and text == "Not Found":
            text = f"there is no {shown(request.url.path)}: GET / lists what there is"
        elif error.status_code == 405:
            allowed = _with_head(headers.get("Allow", ""))
            headers["Allow"] = ", ".join(allowed)
            text = f"{request.url.path[:MAX_SHOWN_CHARACTERS]} takes {' and '.join(allowed)} only"
        return refusal(error.status_code, text, headers)


def _told(error: dict[str, object]) -> str:
    place = error["loc"]
    path = [str(step) for step in place] if isinstance(place, Sequence) else []
    return f"{' '.join(path)} is {shown(error.get('input'))}: {error['msg']}"


def _with_head(allowed: str) -> list[str]:
    """The guard answers HEAD wherever GET is."""
    methods = {method.strip() for method in allowed.split(",") if method.strip()}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)
