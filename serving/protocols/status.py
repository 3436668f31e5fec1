"""The one table from domain errors to gRPC's status codes."""

import grpc

from serving.errors import (
    BadVersion,
    InternalError,
    InvalidInput,
    ModelNotFound,
    ModelUnavailable,
    QueueFull,
    RepositoryError,
    TriptychError,
)

STATUS: dict[type[TriptychError], grpc.StatusCode] = {
    BadVersion: grpc.StatusCode.FAILED_PRECONDITION,
    InternalError: grpc.StatusCode.INTERNAL,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    ModelUnavailable: grpc.StatusCode.UNAVAILABLE,
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RepositoryError: grpc.StatusCode.UNAVAILABLE,
}


def status_of(error: TriptychError) -> grpc.StatusCode:
    return STATUS[type(error)]


def number_of(code: grpc.StatusCode) -> int:
    """The number that goes over the wire."""
    number: int = code.value[0]
    return number
