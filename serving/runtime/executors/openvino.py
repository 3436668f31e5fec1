"""OpenVINO, compiled for this machine's CPU."""

import json
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Left in, it forks this process for each of a dozen messages to Google Analytics, at every
# import and conversion. Without it, OpenVINO takes its own stub.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import openvino as ov  # noqa: E402

from serving.runtime.affinity import may_gather  # noqa: E402
from serving.runtime.cache import Cache  # noqa: E402
from serving.runtime.endpoint import Tensors  # noqa: E402
from serving.runtime.executors import Outputs, Signature  # noqa: E402
from serving.runtime.threads import processors  # noqa: E402


class OpenVINOExecutor:
    """A lane a thread, which is the most examples a second: threads that share a batch wait for
    each other at each layer. A call that is alone is computed by all threads, for the sake of its
    latency; that is a compilation of its own, of the same weights.

    Args: model: as OpenVINO has converted it.
          outputs: their names, in order.
          lone_calls: without them, a call that is alone is computed by one thread as any other.
    """

    name = "openvino"
    threads = 1
    queues = True

    def __init__(
        self,
        model: Any,
        outputs: Sequence[str],
        precision: str,
        threads: int,
        lone_calls: bool = True,
    ) -> None:
        if len(model.outputs) != len(outputs):
            raise RuntimeError(f"{len(model.outputs)} outputs instead of {len(outputs)}")
        self.lanes = threads
        self._compiled = [_compile(model, precision, threads, streams=threads)]
        if threads > 1 and lone_calls:
            self._compiled.append(_compile(model, precision, threads, streams=1))
        self.precision = self._compiled[0].get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self._outputs = outputs
        self._own = threading.local()

    def run(self, *parts: Tensors, alone: bool = False, here: bool = True) -> Outputs:
        lane = self._lane(-1 if alone else 0)
        request = lane.request
        for name, first in parts[0].items():
            # Into OpenVINO's memory: where it reads ours instead (`share_inputs`), it lets go of
            # it without the interpreter's lock, and two threads spoil the heap (seen with 2026.4).
            if len(parts) == 1:
                lane.memory(name, first.shape)[...] = first
            else:
                rows = sum(len(part[name]) for part in parts)
                memory = lane.memory(name, (rows, *first.shape[1:]))
                np.concatenate([part[name] for part in parts], out=memory)
        if here:
            given = request.infer(share_outputs=True).values()
        else:
            request.start_async()
            request.wait()
            given = [request.get_output_tensor(i).data for i in range(len(self._outputs))]
        # Copies: the next run of this thread writes where the originals lie.
        return {name: value.copy() for name, value in zip(self._outputs, given, strict=True)}

    def _lane(self, which: int) -> "_Lane":
        """An infer request serves one caller at a time, so each thread has its own."""
        name = f"of{which}"
        lane = getattr(self._own, name, None)
        if lane is None:
            if not self._compiled:
                raise RuntimeError("the executor is closed")
            lane = _Lane(self._compiled[which].create_infer_request())
            setattr(self._own, name, lane)
        return lane

    def close(self) -> None:
        self._own = threading.local()
        while self._compiled:  # one at a time: each is freed with the interpreter's lock held
            self._compiled.pop()


class _Lane:
    """A thread's infer request, and where the inputs of its last run lie."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self._memory: dict[str, npt.NDArray[Any]] = {}

    def memory(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """To write an input to. It stays where it is as long as the shape does."""
        memory = self._memory.get(name)
        if memory is None or memory.shape != shape:
            tensor = self.request.get_tensor(name)
            tensor.shape = shape
            self._memory[name] = memory = tensor.data
        return memory


# The threads that will compute inherit its priority, and it that of who loads first: those who load
# while others are served have the least (`serving.runtime.priority`).
_compiling = ThreadPoolExecutor(1, "compile")


def _compile(model: Any, precision: str, threads: int, streams: int) -> Any:
    configuration = {
        # Left alone, OpenVINO computes in bfloat16 where the CPU has it: 0.06 off in a logit.
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # Each process pins its threads to the first processors, so that several which share a
        # machine would share these few (seen with 2026.4: two of one thread, half as fast each);
        # and of those that its first thread may use, which is gathered with others.
        "ENABLE_CPU_PINNING": threads >= processors() and not may_gather(threads),
    }
    core = ov.Core()
    return _compiling.submit(core.compile_model, model, "CPU", configuration).result()


def open_signature(
    signature: Signature,
    precision: str,
    threads: int,
    cache: Cache,
    key: str,
    lone_calls: bool = True,
) -> OpenVINOExecutor:
    """Compiles a SavedModel's signature, which was converted before, or is now."""
    place = f"openvino {ov.__version__} {key}"
    graph, weights = cache.file(f"{place} graph"), cache.file(f"{place} weights")
    outputs = cache.read(f"{place} outputs")
    if graph is not None and weights is not None and outputs is not None:
        with suppress(RuntimeError, ValueError):  # cut short
            model = ov.Core().read_model(graph, weights)
            return OpenVINOExecutor(model, json.loads(outputs), precision, threads, lone_calls)
    loaded = signature()
    model, names = ov.convert_model(loaded), _outputs(loaded)
    cache.write(f"{place} outputs", json.dumps(names).encode())
    with TemporaryDirectory() as folder:
        ov.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
        for name, kind in (("graph", "xml"), ("weights", "bin")):
            cache.write(f"{place} {name}", (Path(folder) / f"model.{kind}").read_bytes())
    return OpenVINOExecutor(model, names, precision, threads, lone_calls)


def _outputs(signature: Any) -> list[str]:
    """In OpenVINO's order, which is that of the names in the graph ("Identity_10:0" before
    "Identity_1:0"). Its own names mislead: an output that is called as an input gets a number, and
    one that is an input gets the name of that.
    """
    names = sorted(signature.structured_outputs)  # the order of the signature's own
    inner = [tensor.name for tensor in signature.outputs]
    return [name for _, name in sorted(zip(inner, names, strict=True))]
