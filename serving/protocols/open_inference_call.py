"""One call of the Open Inference Protocol, be it by gRPC or HTTP: who answers it, and what is
wrong with it, in Triton's words.

How it comes and goes is `open_inference`'s and `open_inference_rest`'s matter.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import grpc
import numpy.typing as npt

from serving.account import Account
from serving.engine import Engine
from serving.errors import (
    ENDING,
    InvalidInput,
    LabelNotFound,
    ModelNotFound,
    ModelUnavailable,
    QueueFull,
    QueueTimeout,
    TriptychError,
)
from serving.manager import Handle, Manager
from serving.protocols.open_inference_classification import classified
from serving.protocols.open_inference_config import DEFAULT_PRIORITY_LEVEL, PRIORITY_LEVELS
from serving.protocols.open_inference_tensors import (
    MAX_SHOWN_CHARACTERS,
    Data,
    Given,
    Place,
    missing,
    places,
    quoted,
    unexpected,
)
from serving.protocols.status import status_of
from serving.runtime.endpoint import Endpoint
from serving.runtime.servable import Servable
from serving.settings import Settings

MAX_VERSION_DIGITS = 18
SLOW_CLASSES = 20_000  # from here on ranking takes milliseconds: in a thread


class Unsupported(TriptychError):
    """A part of the protocol that is not there."""


class Options(NamedTuple):
    """Of a request's parameters. priority: the engine's. endpoint: empty for that of the inputs."""

    priority: int = 0
    timeout_seconds: float | None = None
    endpoint: str = ""


class Wanted(NamedTuple):
    """An output that is asked for. classes: how many of its best; 0 for the tensor itself."""

    name: str
    classes: int = 0


class Asked:
    """What a request says but for its tensors' values.

    Of one that comes again and again it is kept which endpoint it fits, and how.
    """

    __slots__ = ("fits", "inputs", "options", "wanted")

    def __init__(self, options: Options, inputs: Sequence[Given], wanted: Sequence[Wanted]) -> None:
        self.options = options
        self.inputs = inputs
        self.wanted = wanted
        self.fits: tuple[Endpoint, Sequence[Place]] | None = None


class Result(NamedTuple):
    version: int
    outputs: list[tuple[str, npt.NDArray[Any]]]
    account: Account


def code_of(error: TriptychError) -> grpc.StatusCode:
    """As Triton answers: a full queue, and a wait in vain, are UNAVAILABLE."""
    if isinstance(error, QueueFull | QueueTimeout):
        return grpc.StatusCode.UNAVAILABLE
    if isinstance(error, Unsupported):
        return grpc.StatusCode.UNIMPLEMENTED
    return status_of(error)


def options_of(parameters: Mapping[str, object]) -> Options:
    """Those of other names are for other servers. Raises: InvalidInput."""
    if not parameters:
        return Options()
    for name in parameters:
        if name.startswith("triton_") and name != "triton_enable_empty_final_response":
            raise InvalidInput(
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the "
                "following keys starting with 'triton_' are allowed: "
                "triton_enable_empty_final_response"
            )
    endpoint = parameters.get("endpoint", "")
    if not isinstance(endpoint, str):
        raise InvalidInput("invalid value type for 'endpoint' parameter, expected string_param.")
    priority = _integer(parameters, "priority", "int64_param or uint64_param")
    if priority < 0:
        raise InvalidInput("invalid value for 'priority', expected value >= 0.")
    if not 0 < priority <= PRIORITY_LEVELS:
        priority = DEFAULT_PRIORITY_LEVEL
    timeout_us = _integer(parameters, "timeout", "int64_param")
    if timeout_us < 0:
        raise InvalidInput("invalid value for 'timeout', expected value >= 0.")
    timeout_seconds = timeout_us / 1e6 if timeout_us else None  # 0 is the model's own
    return Options(priority - DEFAULT_PRIORITY_LEVEL, timeout_seconds, endpoint)


def _integer(parameters: Mapping[str, object], name: str, kind: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"invalid value type for '{name}' parameter, expected {kind}.")
    return value


class Caller:
    def __init__(
        self,
        engine: Engine,
        manager: Manager,
        settings: Settings,
        why_not_ready: Callable[[], str | None],
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._why_not_ready = why_not_ready
        self.max_rows = settings.max_inputs_per_request

    def require_staying(self) -> None:
        """Raises: ModelUnavailable once the server is ending, be there models or not."""
        if self._why_not_ready() == ENDING:
            raise ModelUnavailable("Server exiting: send the call to another one")

    def acquire(self, model: str, version: str) -> Handle:
        """
        Args:   version: a number, a label, or empty for the newest that is ready.
        Raises: ModelNotFound, ModelUnavailable; InvalidInput for a label that there is not.
        """
        is_number = version.isascii() and version.isdigit() and len(version) <= MAX_VERSION_DIGITS
        number = int(version) if is_number else None
        try:
            return self._engine.acquire(model, number, None if is_number else version or None)
        except LabelNotFound as error:
            raise InvalidInput(
                "failed to get model version from specified version string "
                f"{quoted(version)} (details: {error}), version should be an integral value > 0"
            ) from None
        except ModelNotFound as error:
            which = f" version {number}" if number is not None and self._knows(model) else ""
            raise ModelNotFound(
                f"Request for unknown model: {quoted(model)}{which} is not found: {error}"
            ) from None
        except ModelUnavailable as error:
            self.require_staying()
            if version:
                raise ModelUnavailable(
                    f"{quoted(model)} version {version[:MAX_SHOWN_CHARACTERS]} is not at ready "
                    f"state: {error}"
                ) from None
            raise ModelNotFound(
                f"Request for unknown model: {quoted(model)} has no available versions: {error}"
            ) from None

    async def infer(
        self, handle: Handle, request_id: str, asked: Asked, data: Sequence[Data]
    ) -> Result:
        """
        Args:   data: of each input.
        Raises: InvalidInput, QueueFull, QueueTimeout, ModelUnavailable, InternalError.
        """
        servable, options = handle.loaded.servable, asked.options
        fits = asked.fits
        if fits is None or servable.endpoints.get(fits[0].name) is not fits[0]:
            fits = self._fitting(handle, request_id, asked)
        endpoint, inputs = fits
        try:
            pairs = zip(inputs, data, strict=True)
            tensors = {place.given.name: place.read(values) for place, values in pairs}
            answer = await self._engine.infer(
                handle,
                endpoint.name,
                tensors,
                priority=options.priority,
                timeout_seconds=options.timeout_seconds,
            )
            outputs = await _chosen(servable, endpoint, answer.outputs, asked.wanted)
        except InvalidInput as error:
            raise _of(request_id, error) from None
        except QueueFull as error:
            raise QueueFull(f"{_prefix(request_id)}Exceeds maximum queue size: {error}") from None
        except QueueTimeout as error:
            raise QueueTimeout(f"Request timeout expired: {error}") from None
        return Result(answer.version, outputs, answer.account)

    def _fitting(
        self, handle: Handle, request_id: str, asked: Asked
    ) -> tuple[Endpoint, Sequence[Place]]:
        """Raises: InvalidInput."""
        servable = handle.loaded.servable
        endpoint = _endpoint(servable, asked.inputs, asked.options.endpoint)
        for output in asked.wanted:
            if output.name not in endpoint.outputs:
                raise unexpected(handle.name, "output", output.name, endpoint.outputs)
        try:
            _require_names(handle.name, endpoint, asked.inputs)
            inputs = places(
                endpoint,
                asked.inputs,
                model=handle.name,
                max_rows=self.max_rows,
                refuse_nan=servable.manifest is not None,
            )
        except InvalidInput as error:
            raise _of(request_id, error) from None
        asked.fits = endpoint, inputs
        return asked.fits

    def _knows(self, model: str) -> bool:
        try:
            return bool(self._manager.status(model))
        except ModelNotFound:
            return False


def _of(request_id: str, error: InvalidInput) -> InvalidInput:
    return InvalidInput(f"{_prefix(request_id)}{error}")


def _prefix(request_id: str) -> str:
    return f"[request id: {request_id[:MAX_SHOWN_CHARACTERS] or '<id_unknown>'}] "


def _endpoint(servable: Servable, inputs: Sequence[Given], asked: str) -> Endpoint:
    """The one that is named, or the default one, or one that has just these inputs."""
    if asked:
        return servable.endpoint(asked)
    default = servable.endpoints[servable.default_endpoint]
    names = {given.name for given in inputs}
    if names == default.inputs.keys():
        return default
    known = {**servable.endpoints, **servable.own_endpoints}
    for name, other in known.items():  # by name: `classify` before `serving_default`
        if names and names == other.inputs.keys():
            return servable.endpoint(name)
    return default


def _require_names(model: str, endpoint: Endpoint, inputs: Sequence[Given]) -> None:
    names = [given.name for given in inputs]
    if len(names) == len(endpoint.inputs) and endpoint.inputs.keys() == set(names):
        return
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInput(f"input {quoted(name)} already exists in request")
        seen.add(name)
    if len(names) != len(endpoint.inputs):
        raise missing(model, endpoint.inputs, names)
    name = next(name for name in names if name not in endpoint.inputs)
    raise unexpected(model, "input", name, endpoint.inputs)


async def _chosen(
    servable: Servable,
    endpoint: Endpoint,
    outputs: Mapping[str, npt.NDArray[Any]],
    wanted: Sequence[Wanted],
) -> list[tuple[str, npt.NDArray[Any]]]:
    if not wanted:
        return [(name, outputs[name]) for name in endpoint.outputs]
    chosen = []
    # Each once: an answer must not grow by what a client repeats.
    for name, classes in {output.name: output for output in wanted}.values():
        values = outputs[name]
        if classes:

            def rank(values: npt.NDArray[Any] = values, most: int = classes) -> npt.NDArray[Any]:
                return classified(values, servable.labels, most, batched=endpoint.batched)

            slow = values.size > SLOW_CLASSES
            values = await asyncio.to_thread(rank) if slow else rank()
        chosen.append((name, values))
    return chosen
