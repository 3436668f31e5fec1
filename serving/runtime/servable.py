"""A loaded version: manifest, endpoints, warm-up, and the proof that it is what was trained.

What computes `predict` is an executor, how bytes are read is `serving.runtime.decoding`'s
matter, and when to load which version is the server's.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion, InvalidInput
from serving.runtime import decoding
from serving.runtime.decoding import DEFAULT_LIMITS, Limits
from serving.runtime.executors import EXECUTORS, Executor, Scores
from serving.runtime.manifest import read_golden, read_manifest, verify_files

GOLDEN_TOLERANCE = 1e-4  # between a golden score and what this machine computes
ENDPOINTS = ("preprocess", "predict")

Decoded = npt.NDArray[Any] | str


class Servable:
    """All methods but `close` may be called from many threads at once.

    `name` is the manifest's, `version` the folder's number, or 0 if it has another name.
    """

    def __init__(
        self,
        folder: Path,
        manifest: manifest_pb2.Manifest,
        golden: Sequence[manifest_pb2.GoldenExample],
        saved_model: Any,
        executor: Executor,
        limits: Limits,
    ) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.version = int(folder.name) if folder.name.isdecimal() else 0
        self.executor_name = executor.name
        self._golden = golden
        self._saved_model = saved_model  # which owns the variables that its signatures use
        self._preprocess = saved_model.signatures["preprocess"]
        ((self._decoded_name, self._decoded_spec),) = _arguments(self._preprocess)
        ((_, self._examples_spec),) = _arguments(saved_model.signatures["predict"])
        self._executor = executor
        self._limits = limits

    @classmethod
    def load(
        cls, folder: Path, executor: str = "openvino", limits: Limits = DEFAULT_LIMITS
    ) -> Self:
        """Blocking: tens of milliseconds for a small model, and seconds for TensorFlow's import.

        Raises: BadVersion if a file is missing or changed, or is not what an export writes.
        """
        manifest = read_manifest(folder)
        verify_files(folder, manifest)
        golden = read_golden(folder)
        saved_model = _load_saved_model(folder, _import_tensorflow())
        try:
            compiled = EXECUTORS[executor](saved_model.signatures["predict"])
        except Exception as error:
            others = " or ".join(name for name in EXECUTORS if name != executor)
            raise BadVersion(
                f"the `predict` endpoint cannot be compiled by {executor} ({_first_line(error)}): "
                f"try the executor {others}"
            ) from error
        return cls(folder, manifest, golden, saved_model, compiled, limits)

    def decode(self, item: bytes | str) -> Decoded:
        """What `preprocess` takes. Raises: InvalidInput."""
        return decoding.decode(item, self.manifest.input, self._limits)

    def preprocess(self, decoded: Decoded) -> npt.NDArray[Any]:
        """One example, without batch axis. Raises: InvalidInput if `decoded` does not fit."""
        value = np.array(decoded, object) if isinstance(decoded, str) else decoded
        _check(self._decoded_name, value, self._decoded_spec)
        # By keyword: by position, TensorFlow takes up to twenty times as long.
        outputs = self._preprocess(**{self._decoded_name: decoded})
        example: npt.NDArray[Any] = outputs["example"].numpy()
        return example

    def predict(self, examples: npt.NDArray[Any]) -> Scores:
        """[B, ...] -> [B, K]. Blocking. Raises: InvalidInput if `examples` do not fit."""
        # TensorFlow itself takes any shape without a word, and computes something.
        _check("examples", examples, self._examples_spec)
        return self._executor.predict(examples)

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """So that no caller waits for what is compiled at a shape's first use."""
        for golden in self._golden:
            example = self._golden_example(golden)
            for size in batch_sizes:
                self.predict(np.repeat(example[np.newaxis], size, axis=0))

    def check_golden(self) -> None:
        """Raises: BadVersion if a score is more than GOLDEN_TOLERANCE off training's own."""
        largest = 0.0
        for golden in self._golden:
            scores = self.predict(self._golden_example(golden)[np.newaxis]).scores[0]
            if not len(scores) == len(golden.scores) == len(self.manifest.labels):
                raise BadVersion(
                    f"{len(self.manifest.labels)} labels, {len(golden.scores)} golden scores and "
                    f"{len(scores)} computed ones: export the model again"
                )
            difference = float(np.abs(scores - np.array(golden.scores, np.float32)).max())
            largest = max(largest, np.inf if np.isnan(difference) else difference)
        if largest > GOLDEN_TOLERANCE:
            raise BadVersion(
                f"golden scores are not reproduced by {self.executor_name}: the largest "
                f"difference is {largest:.2g}, and {GOLDEN_TOLERANCE:g} is allowed. This is not "
                "the model that was tested: export it again"
            )

    def close(self) -> None:
        """Frees the memory, once the calls that still run in threads have ended."""
        self._executor.close()
        self._saved_model = None

    def _golden_example(self, golden: manifest_pb2.GoldenExample) -> npt.NDArray[Any]:
        item = golden.text if golden.WhichOneof("kind") == "text" else golden.data
        try:
            # Within the default limits: a server's own may be narrower than training's.
            return self.preprocess(decoding.decode(item, self.manifest.input))
        except InvalidInput as error:
            raise BadVersion(f"a golden input cannot be read: {error}") from error


def _load_saved_model(folder: Path, tensorflow: Any) -> Any:
    try:
        saved_model = tensorflow.saved_model.load(str(folder))
    except Exception as error:  # its loader raises whatever its readers do
        raise BadVersion(
            f"TensorFlow {tensorflow.__version__} cannot load it ({_first_line(error)}): export "
            "the model again with this release"
        ) from error
    missing = [name for name in ENDPOINTS if name not in saved_model.signatures]
    if missing:
        raise BadVersion(
            f"the SavedModel has no {' and no '.join(missing)} endpoint: `triptych export` "
            "writes both"
        )
    return saved_model


def _import_tensorflow() -> Any:
    """Here and not above, as it takes seconds, which the command line does not have."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


def _arguments(signature: Any) -> list[tuple[str, Any]]:
    return list(signature.structured_input_signature[1].items())


def _check(name: str, value: npt.NDArray[Any], spec: Any) -> None:
    wanted = tuple(spec.shape)
    fits = len(wanted) == value.ndim and all(
        size is None or size == given for size, given in zip(wanted, value.shape, strict=True)
    )
    if not fits or value.dtype != spec.dtype.as_numpy_dtype:
        shape = ", ".join("any" if size is None else str(size) for size in wanted)
        raise InvalidInput(
            f"{name} is {value.dtype} of shape {list(value.shape)}, and the model takes "
            f"{spec.dtype.name} of shape [{shape}]"
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
