"""What TensorFlow Serving says when it refuses a call, and in which code: of gRPC and REST alike.

Errors of the engine become refusals here; the texts of single calls are with those calls.
"""

from typing import NamedTuple

import grpc

from serving.engine import internal_error
from serving.errors import LabelNotFound, ModelNotFound, TriptychError
from serving.protocols.status import status_of

MAX_CHARACTERS = 1024
CUT = "...TRUNCATED"

Code = grpc.StatusCode


class Refused(Exception):
    """A call's end, in the protocol's words."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def invalid(text: str) -> Refused:
    return Refused(Code.INVALID_ARGUMENT, text)


class Spec(NamedTuple):
    """Which version of a model is meant: neither version nor label is the newest that is ready."""

    model: str
    version: int | None = None
    label: str | None = None
    signature: str = ""

    @property
    def request(self) -> str:
        if self.version is not None:
            return f"Specific({self.model}, {self.version})"
        if self.label is not None:
            return f"Specific({self.model}, {self.label})"
        return f"Latest({self.model})"


def refusal(error: Exception, spec: Spec | None = None) -> Refused:
    """Args: spec: of the model that was asked for, where there is one."""
    if isinstance(error, Refused):
        return error
    if not isinstance(error, TriptychError):
        error = internal_error(error)
    if spec is not None and isinstance(error, ModelNotFound | LabelNotFound):
        numbered = spec.label is None or (spec.label.isascii() and spec.label.isdigit())
        if isinstance(error, LabelNotFound) or not numbered:
            return invalid(f"Unrecognized servable version label: {spec.label}; {error}")
        return Refused(Code.NOT_FOUND, f"Servable not found for request: {spec.request}; {error}")
    return Refused(status_of(error), str(error))


def cut(text: str) -> str:
    """As TensorFlow Serving cuts the texts of gRPC; for a client refuses 8 KiB of headers."""
    encoded = text.encode(errors="replace")  # a name may hold what is no Unicode
    if len(encoded) <= MAX_CHARACTERS:
        return encoded.decode()
    return encoded[:MAX_CHARACTERS].decode(errors="ignore") + CUT
