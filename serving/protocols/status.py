"""The one table: domain error -> grpc status; and what that is in HTTP."""

import grpc

from serving.errors import (
    BadVersion,
    InternalError,
    InvalidInput,
    LabelNotFound,
    ModelNotFound,
    ModelUnavailable,
    NotExplainable,
    QueueFull,
    QueueTimeout,
    RepositoryError,
    TriptychError,
)

STATUS: dict[type[TriptychError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    LabelNotFound: grpc.StatusCode.NOT_FOUND,
    ModelUnavailable: grpc.StatusCode.UNAVAILABLE,
    NotExplainable: grpc.StatusCode.FAILED_PRECONDITION,
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QueueTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    InternalError: grpc.StatusCode.INTERNAL,
    # These are an operator's to see, and reach no caller.
    BadVersion: grpc.StatusCode.FAILED_PRECONDITION,
    RepositoryError: grpc.StatusCode.UNAVAILABLE,
}

HTTP: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

MAX_DETAILS_BYTES = 2_000  # a client refuses 8 KiB of headers, where a byte may take three


def status_of(error: TriptychError) -> grpc.StatusCode:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def http_status_of(error: TriptychError) -> int:
    return HTTP[status_of(error)]


def number_of(error: TriptychError) -> int:
    """The status as its number, as in google.rpc.Code."""
    number: int = status_of(error).value[0]
    return number


def details(text: str) -> str:
    """`text`, cut to what fits into a status."""
    encoded = text.encode(errors="replace")  # a path may hold what is no Unicode
    if len(encoded) <= MAX_DETAILS_BYTES:
        return encoded.decode()
    return encoded[:MAX_DETAILS_BYTES].decode(errors="ignore") + "..."
