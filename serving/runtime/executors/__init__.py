"""What computes `predict`: one class a file, the same scores from each."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt


class Scores(NamedTuple):
    logits: npt.NDArray[np.float32]  # [B, K]
    scores: npt.NDArray[np.float32]  # [B, K], after softmax


class Executor(Protocol):
    """Blocking, and safe to call from many threads."""

    name: str

    def predict(self, examples: npt.NDArray[Any]) -> Scores:
        """[B, ...] -> [B, K]."""

    def close(self) -> None: ...


def _openvino(signature: Any) -> Executor:
    from serving.runtime.executors.openvino import OpenVINOExecutor

    return OpenVINOExecutor(signature)


def _tensorflow(signature: Any) -> Executor:
    from serving.runtime.executors.tensorflow import TensorFlowExecutor

    return TensorFlowExecutor(signature)


# Each is made from the `predict` signature of a loaded SavedModel.
EXECUTORS: dict[str, Callable[[Any], Executor]] = {
    "openvino": _openvino,
    "tensorflow": _tensorflow,
}
