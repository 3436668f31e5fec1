"""What computes an endpoint: one class a file, the same numbers from each."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.runtime.cache import Cache
from serving.runtime.endpoint import Tensors

Outputs = dict[str, npt.NDArray[Any]]
Signature = Callable[[], Any]  # loads it, of a SavedModel, if that was not done before


class Executor(Protocol):
    """Opened from one signature of a loaded SavedModel.

    precision: "f32" or "bf16", in which it computes.
    lanes:     batches that it computes at once.
    queues:    it computes in threads of its own, and takes one batch more than it has lanes: so a
               lane goes on before a thread of ours has the interpreter's lock.
    threads:   that compute in one lane; in all of them together for a call that is alone.
    """

    name: str
    precision: str
    lanes: int
    queues: bool
    threads: int

    def run(self, *parts: Tensors, alone: bool = False, here: bool = True) -> Outputs:
        """Blocking.

        Args: parts: of the batch, one after another.
              alone: no other call runs, so that the threads of all lanes may compute this one.
              here: in the calling thread; else, where it `queues`, in those of the executor.
        """

    def close(self) -> None: ...


def joined(parts: Sequence[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _openvino(
    signature: Signature, precision: str, threads: int, cache: Cache, key: str, lone_calls: bool
) -> Executor:
    from serving.runtime.executors.openvino import open_signature

    return open_signature(signature, precision, threads, cache, key, lone_calls)


def _tensorflow(
    signature: Signature, precision: str, threads: int, cache: Cache, key: str, lone_calls: bool
) -> Executor:
    from serving.runtime.executors.tensorflow import TensorFlowExecutor

    return TensorFlowExecutor(signature(), lanes=threads)


# Each opens a signature in a precision, with so many threads; the key names its weights and graph.
# The last says whether calls that are alone shall have all threads.
EXECUTORS: dict[str, Callable[[Signature, str, int, Cache, str, bool], Executor]] = {
    "openvino": _openvino,
    "tensorflow": _tensorflow,
}
