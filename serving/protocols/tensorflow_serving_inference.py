"""Predict, Classify and Regress as TensorFlow Serving means them, for gRPC and REST alike.

How messages and JSON become arrays is left to those who read them; here is what a signature must
look like, in which order mistakes are told, and in which words.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.account import Account
from serving.engine import Answer, Engine
from serving.errors import InvalidInput
from serving.manager import Handle
from serving.protocols.tensorflow_serving_examples import Limits, call_with
from serving.protocols.tensorflow_serving_status import Code, Refused, Spec, invalid
from serving.protocols.tensorflow_serving_tensors import decode, type_name_of
from serving.runtime.endpoint import STRING, Endpoint, Tensors, names
from serving.settings import Settings

Array = npt.NDArray[Any]

DEFAULT_SIGNATURE = "serving_default"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"
INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"
MANY_CLASSES = 20_000  # labels with scores that take long enough to be written in a thread


class Classes(NamedTuple):
    """Of each example all classes, in the order of the tensors. One of both may be missing."""

    labels: Array | None  # [N, K] of bytes
    scores: Array | None  # [N, K] of float32


class Task(NamedTuple):
    """One of a MultiInference."""

    spec: Spec
    method: str


class Result(NamedTuple):
    spec: Spec
    classes: Classes | None
    values: Array | None  # [N]


class Inference:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self.limits = Limits(settings.max_inputs_per_request, settings.max_request_bytes)

    def acquire(self, spec: Spec) -> Handle:
        if not spec.model:
            raise invalid("ModelSpec has no name specified.")
        return self._engine.acquire(spec.model, spec.version, spec.label)

    async def predict(
        self, handle: Handle, endpoint: Endpoint, inputs: Tensors, wanted: Sequence[str] = ()
    ) -> Answer:
        """Args: wanted: names of outputs; none is all of them."""
        _require_outputs(endpoint, wanted)
        answer = await self._infer(handle, endpoint.name, inputs)
        if not wanted:
            return answer
        return answer._replace(outputs={name: answer.outputs[name] for name in wanted})

    async def classify(self, handle: Handle, signature: str, given: Any) -> tuple[Classes, Account]:
        """Args: given: an `Input` message."""
        endpoint = _endpoint(handle, signature, "No signature was found with the name: {}")
        _require_classification(endpoint)
        return await self._classify(handle, endpoint, given)

    async def regress(self, handle: Handle, signature: str, given: Any) -> tuple[Array, Account]:
        endpoint = _endpoint(handle, signature, "No signature was found with the name: {}")
        _require_regression(endpoint)
        return await self._regress(handle, endpoint, given)

    async def infer_many(
        self, handle: Handle, tasks: Sequence[Task], given: Any
    ) -> tuple[list[Result], Account]:
        """All signatures on the same examples. Returns: the account of the slowest beside."""
        endpoints = _endpoints(handle, tasks)

        async def run(task: Task, endpoint: Endpoint) -> tuple[Result, Account]:
            if task.method == CLASSIFY:
                classes, account = await self._classify(handle, endpoint, given)
                return Result(task.spec, classes, None), account
            values, account = await self._regress(handle, endpoint, given)
            return Result(task.spec, None, values), account

        # Each is waited for, whatever becomes of the others: they hold the version's handle.
        done = await asyncio.gather(
            *(run(task, endpoint) for task, endpoint in zip(tasks, endpoints, strict=True)),
            return_exceptions=True,
        )
        pairs = []
        for each in done:
            if isinstance(each, BaseException):
                raise each
            pairs.append(each)
        if not pairs:
            raise invalid("Input is empty.")
        accounts = [account for _, account in pairs]
        slowest = max(accounts, key=lambda account: account.total_us)
        return [result for result, _ in pairs], slowest

    async def _classify(
        self, handle: Handle, endpoint: Endpoint, given: Any
    ) -> tuple[Classes, Account]:
        servable = handle.loaded.servable
        call = call_with(servable, endpoint, given, self.limits)
        answer = await self._infer(handle, call.endpoint, call.inputs)
        labels, scores = answer.outputs.get(CLASSES), answer.outputs.get(SCORES)
        if call.endpoint != endpoint.name and scores is not None:  # ours, by numbers
            own = np.array([label.encode() for label in servable.labels], object)
            labels = np.broadcast_to(own, scores.shape)
        for name, value, dtype in (
            (CLASSES, labels, STRING),
            (SCORES, scores, np.dtype(np.float32)),
        ):
            if value is not None:
                _require_matrix(name, value, dtype, call.examples)
        if labels is not None and scores is not None and labels.shape != scores.shape:
            raise invalid(
                "Tensors class and score should match in dim_size(1). Got "
                f"{labels.shape[1]} vs. {scores.shape[1]}"
            )
        return Classes(labels, scores), answer.account

    async def _regress(
        self, handle: Handle, endpoint: Endpoint, given: Any
    ) -> tuple[Array, Account]:
        call = call_with(handle.loaded.servable, endpoint, given, self.limits)
        answer = await self._infer(handle, call.endpoint, call.inputs)
        values = answer.outputs[OUTPUTS]
        if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] != 1):
            raise invalid(
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but "
                f"got {_shape(values)}"
            )
        if len(values) != call.examples:
            raise invalid(
                "Input batch size did not match output batch size: "
                f"{call.examples} vs. {len(values)}"
            )
        if values.dtype != np.float32:
            raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {type_name_of(values.dtype)}")
        return values.reshape(-1), answer.account

    async def _infer(self, handle: Handle, endpoint: str, inputs: Tensors) -> Answer:
        if endpoint in handle.loaded.servable.raw_endpoints:
            (encoded,) = inputs.values() if len(inputs) == 1 else (np.empty(0),)
            if encoded.ndim and len(encoded) > self.limits.encoded:
                raise InvalidInput(
                    f"the request has {len(encoded):,} inputs, and {self.limits.encoded:,} are "
                    "allowed: send several requests, or raise TRIPTYCH_MAX_INPUTS_PER_REQUEST"
                )
        return await self._engine.infer(handle, endpoint, inputs)


def predict_endpoint(handle: Handle, signature: str) -> Endpoint:
    return _endpoint(
        handle, signature, 'Serving signature key "{}" not found.', Code.FAILED_PRECONDITION
    )


def _endpoint(
    handle: Handle, signature: str, missing: str, code: Code = Code.INVALID_ARGUMENT
) -> Endpoint:
    servable = handle.loaded.servable
    known, name = servable.endpoints, signature or DEFAULT_SIGNATURE
    if name in servable.own_endpoints:
        return servable.endpoint(name)  # which says who is asked instead
    if name not in known:
        # A full stop where the prescribed text has none would change it.
        joint = "" if missing.endswith(".") else ";"
        raise Refused(code, f"{missing.format(name)}{joint} Model {handle.name} has {names(known)}")
    return known[name]


def rest_endpoint(handle: Handle, signature: str) -> Endpoint:
    return _endpoint(handle, signature, 'Serving signature name: "{}" not found in signature def')


def decode_inputs(
    endpoint: Endpoint,
    given: Mapping[str, Any],
    most_bytes: int,
    content: memoryview | None = None,
) -> dict[str, Array]:
    """
    Args: given: TensorProto by name.
          content: tensor_content of the only one, where it was not parsed with the rest.
    """
    require_inputs(endpoint, given)
    inputs = {}
    for name in endpoint.inputs:
        try:
            inputs[name] = decode(given[name], most_bytes, content)
        except InvalidInput as error:
            raise invalid(f"tensor parsing error: {name}: {error}") from None
    return inputs


def require_inputs(endpoint: Endpoint, given: Collection[str]) -> None:
    sent, known = set(given), set(endpoint.inputs)
    if len(sent) != len(known):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(known)} len({_set(sent)}) != "
            f"len({_set(known)}). Sent extra: {_set(sent - known)}. Missing but required: "
            f"{_set(known - sent)}."
        )
    for name in sorted(known - sent):
        raise invalid(
            f"Signature input alias: {name}(feed name: {endpoint.name}_{name}:0) not found in "
            f"request and no default value provided. Inputs expected to be in the request "
            f"{_set(sent)}, or default input alias set: "
        )


def _require_outputs(endpoint: Endpoint, wanted: Sequence[str]) -> None:
    seen = set()
    for name in wanted:
        if name not in endpoint.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {_set(endpoint.outputs)}."
            )
        if name in seen:
            raise invalid(f"duplicate output tensor alias: {name}")
        seen.add(name)


def _endpoints(handle: Handle, tasks: Sequence[Task]) -> list[Endpoint]:
    found: dict[str, Endpoint] = {}
    checks: dict[str, Callable[[Endpoint], None]] = {
        CLASSIFY: _require_classification,
        REGRESS: _require_regression,
    }
    for spec, method in tasks:
        if not spec.model:
            raise invalid("Found ModelSpec with an empty model name.")
        if spec.model != tasks[0].spec.model:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        if _signature(spec) in found:
            raise invalid(f"Duplicate evaluation of signature: {_signature(spec)}")
        endpoint = _endpoint(
            handle, spec.signature, "Requested signature not found in model graph: {}"
        )
        if method not in checks:
            raise Refused(
                Code.UNIMPLEMENTED,
                f"Unsupported signature method_name: {method}; there are {CLASSIFY} and {REGRESS}",
            )
        checks[method](endpoint)
        found[endpoint.name] = endpoint
    return list(found.values())


def _signature(spec: Spec) -> str:
    return spec.signature or DEFAULT_SIGNATURE


def _require_classification(endpoint: Endpoint) -> None:
    if len(endpoint.inputs) != 1:
        raise invalid(f"Expected one input Tensor. {described(endpoint)}")
    if len(endpoint.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(endpoint.outputs)}")
    if INPUTS not in endpoint.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {described(endpoint)}")
    if not {CLASSES, SCORES} & endpoint.outputs.keys():
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {described(endpoint)}'
        )


def _require_regression(endpoint: Endpoint) -> None:
    if len(endpoint.inputs) != 1:
        raise invalid(f"Expected one input Tensor. {described(endpoint)}")
    if len(endpoint.outputs) != 1:
        raise invalid(f"Expected one output Tensor. {described(endpoint)}")
    if INPUTS not in endpoint.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {described(endpoint)}")
    if OUTPUTS not in endpoint.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {described(endpoint)}")


def described(endpoint: Endpoint) -> str:
    return f"{endpoint.name}({names(endpoint.inputs)}) -> {names(endpoint.outputs)}"


def _require_matrix(name: str, value: Array, dtype: np.dtype[Any], examples: int) -> None:
    if value.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(value)}")
    if value.dtype != dtype:
        raise invalid(
            f"Expected {name} Tensor of {type_name_of(dtype)}. Got: {type_name_of(value.dtype)}"
        )
    if len(value) != examples:
        raise invalid(f"Expected {name} output batch size of {examples}. Got: {len(value)}")


def _set(given: Collection[str]) -> str:
    return "{" + ",".join(sorted(given)) + "}"


def _shape(value: Array) -> str:
    return "[" + ",".join(map(str, value.shape)) + "]"
