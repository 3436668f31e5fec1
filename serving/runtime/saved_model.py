"""A SavedModel as TensorFlow loads it: its endpoints, and calls of them."""

import itertools
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.errors import BadVersion
from serving.runtime.endpoint import Endpoint, TensorSpec

if TYPE_CHECKING:
    from serving.runtime.executors.tensorflow import Call

SERVING_DEFAULT = "serving_default"
# TensorFlow keeps the compiled form of whatever was called, a third of a megabyte of a small
# `preprocess`, until it is told to forget all: who is called next is compiled anew, in 35 ms.
CLOSED_FOR_A_SWEEP = 16
# What NumPy has and the protocols know, by TensorFlow's names. The rest is quantised numbers,
# float8, int4, and what is no tensor: resources and variants.
# fmt: off
TYPES = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128", "string",
}
# fmt: on

_closed = itertools.count(1)


class SavedModel:
    """Blocking: tens of milliseconds for a small model, and seconds for TensorFlow's import.

    endpoints: by name, as its signatures, but for those of types that no client can send.
    notes:     on each of these.

    Raises: BadVersion if it cannot be loaded, or has nothing to serve.
    """

    def __init__(self, folder: Path) -> None:
        self._loaded = _load(folder)  # which owns the variables that its signatures use
        self._signatures = dict(self._loaded.signatures)
        self.endpoints, self.notes = _endpoints(self._signatures)
        from serving.runtime.executors.tensorflow import Call  # which imports TensorFlow

        self._calls = {name: Call(self._signatures[name]) for name in self.endpoints}

    def signature(self, name: str) -> Any:
        return self._signatures[name]

    def call(self, name: str) -> "Call":
        return self._calls[name]

    def close(self) -> None:
        """Frees what TensorFlow would keep for good: tables, and what it made of each call.

        Once no call runs any more: it would find its table gone.
        """
        tensorflow = import_tensorflow()
        captured = [
            tensor
            for signature in self._signatures.values()
            for tensor in signature.captured_inputs
            if tensor.dtype == tensorflow.resource
        ]
        for table in captured:  # of variables it is no matter: who holds them has them
            tensorflow.raw_ops.DestroyResourceOp(resource=table, ignore_lookup_error=True)
        self._signatures, self._calls = {}, {}
        if next(_closed) % CLOSED_FOR_A_SWEEP == 0:
            from tensorflow.python.eager import context  # no public name has it

            context.context().clear_kernel_cache()

    def save_alone(self, name: str, folder: Path) -> None:
        """Another SavedModel, of one endpoint, with the tables and variables that this one uses."""
        tensorflow = import_tensorflow()
        signature = self._signatures[name]
        inputs = signature.structured_input_signature[1]
        captured = {id(tensor) for tensor in signature.captured_inputs}
        alone = tensorflow.Module()
        alone.resources = [
            owner
            for owner in tensorflow.train.TrackableView(self._loaded).descendants()
            if id(getattr(owner, "resource_handle", getattr(owner, "handle", None))) in captured
        ]
        function = tensorflow.function(lambda **given: signature(**given))
        signatures = {name: function.get_concrete_function(**inputs)}
        tensorflow.saved_model.save(alone, str(folder), signatures=signatures)

    def require(self, endpoints: Sequence[str]) -> None:
        """Raises: BadVersion if it has not all of them."""
        missing = [name for name in endpoints if name not in self._signatures]
        if missing:
            raise BadVersion(
                f"the SavedModel has no {' and no '.join(missing)} endpoint: `triptych export` "
                "writes them all"
            )


def import_tensorflow() -> Any:
    """Here and not above, as it takes seconds, which the command line does not have."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


def limit_tensorflow(threads: int) -> None:
    """Of this process, before its first graph runs; afterwards it is as it is.

    One thread a graph: many graphs at once are faster so than each on many.
    """
    threading = import_tensorflow().config.threading
    with suppress(RuntimeError):
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(threads)


def has_gpu() -> bool:
    """Whether TensorFlow computes on one."""
    return bool(import_tensorflow().config.list_physical_devices("GPU"))


def _load(folder: Path) -> Any:
    tensorflow = import_tensorflow()
    try:
        saved_model = tensorflow.saved_model.load(str(folder))
    except Exception as error:  # its loader raises whatever its readers do
        raise BadVersion(
            f"TensorFlow {tensorflow.__version__} cannot load it ({_first_line(error)}): export "
            "the model again with this release"
        ) from error
    if not saved_model.signatures:
        raise BadVersion(
            "the SavedModel has no signatures, so there is nothing to serve: save it with "
            "`signatures=`, or by `model.export` of Keras"
        )
    return saved_model


def _endpoints(signatures: Mapping[str, Any]) -> tuple[dict[str, Endpoint], list[str]]:
    """Those that clients can call, by name, and a note on each of the others.

    Raises: BadVersion if the default one is of the others: what answered in its place would be
            another function.
    """
    endpoints, notes = {}, []
    for name in sorted(signatures):  # a SavedModel's own order is another one at each load
        strange = _strange(signatures[name])
        if not strange:
            endpoints[name] = _endpoint(name, signatures[name])
            continue
        note = f"endpoint {name!r} is not served, as no protocol can carry what it takes or gives: "
        notes.append(f"{note}{strange}")
    if notes and (not endpoints or SERVING_DEFAULT in signatures.keys() - endpoints.keys()):
        raise BadVersion(
            f"{'; '.join(notes)}. Cast such tensors in the signature, and save it again"
        )
    return endpoints, notes


def _strange(signature: Any) -> str:
    return ", ".join(
        f"{kind} {key!r}, which is {specs[key].dtype.name}"
        for kind, specs in zip(("input", "output"), _specs(signature), strict=True)
        for key in sorted(specs)
        if specs[key].dtype.name not in TYPES
    )


def _specs(signature: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return signature.structured_input_signature[1], signature.structured_outputs


def _endpoint(name: str, signature: Any) -> Endpoint:
    inputs, outputs = (
        {key: _spec(key, specs[key]) for key in sorted(specs)} for specs in _specs(signature)
    )
    batched = bool(inputs) and all(
        spec.shape and spec.shape[0] is None for spec in [*inputs.values(), *outputs.values()]
    )
    return Endpoint(name, inputs, outputs, batched)


def _spec(name: str, spec: Any) -> TensorSpec:
    shape = None if spec.shape.rank is None else tuple(spec.shape)
    return TensorSpec(name, np.dtype(spec.dtype.as_numpy_dtype), shape)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
