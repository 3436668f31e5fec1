"""OpenVINO, compiled for this machine's CPU."""

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
import openvino as ov  # noqa: E402

from serving.runtime.cache import Cache  # noqa: E402
from serving.runtime.endpoint import Tensors  # noqa: E402
from serving.runtime.executors import Outputs  # noqa: E402
from serving.runtime.executors.handover import CalledBack, Handover  # noqa: E402
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
        self._outputs = list(enumerate(outputs))
        self._requests = threading.local()

    def run(
        self, *parts: Tensors, alone: bool = False, handover: Handover | None = None
    ) -> Outputs:
        request = self._request(-1 if alone else 0)
        for name, first in parts[0].items():
            # Into OpenVINO's memory: where it reads ours instead (`share_inputs`), it lets go of
            # it without the interpreter's lock, and two threads spoil the heap (seen with 2026.4).
            tensor = request.get_tensor(name)
            rows = sum(len(part[name]) for part in parts) if len(parts) > 1 else None
            tensor.shape = first.shape if rows is None else (rows, *first.shape[1:])
            if rows is None:
                tensor.data[...] = first
            else:
                np.concatenate([part[name] for part in parts], out=tensor.data)
        if handover is None or alone:
            request.infer()  # in this thread
        else:
            request.start_async()
            handover.accept(request.cancel)
            try:
                request.wait()
            except RuntimeError:
                if handover.is_called_back:
                    raise CalledBack from None
                raise
        # Copies: the next run of this thread writes where the originals lie.
        return {name: request.get_output_tensor(i).data.copy() for i, name in self._outputs}

    def _request(self, which: int) -> Any:
        """An infer request serves one caller at a time, so each thread has its own."""
        name = f"of{which}"
        request = getattr(self._requests, name, None)
        if request is None:
            if not self._compiled:
                raise RuntimeError("the executor is closed")
            request = self._compiled[which].create_infer_request()
            setattr(self._requests, name, request)
        return request

    def close(self) -> None:
        self._requests = threading.local()
        self._compiled = []


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
        # machine would share these few (seen with 2026.4: two of one thread, half as fast each).
        "ENABLE_CPU_PINNING": threads >= processors(),
    }
    core = ov.Core()
    return _compiling.submit(core.compile_model, model, "CPU", configuration).result()


def open_signature(
    signature: Any, precision: str, threads: int, cache: Cache, key: str, lone_calls: bool = True
) -> OpenVINOExecutor:
    """Compiles a SavedModel's signature, which was converted before, or is now."""
    place = f"openvino {ov.__version__} {key}"
    outputs = _outputs(signature)
    graph, weights = cache.file(f"{place} graph"), cache.file(f"{place} weights")
    if graph is not None and weights is not None:
        with suppress(RuntimeError):  # cut short
            model = ov.Core().read_model(graph, weights)
            return OpenVINOExecutor(model, outputs, precision, threads, lone_calls)
    model = ov.convert_model(signature)
    with TemporaryDirectory() as folder:
        ov.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
        for name, kind in (("graph", "xml"), ("weights", "bin")):
            cache.write(f"{place} {name}", (Path(folder) / f"model.{kind}").read_bytes())
    return OpenVINOExecutor(model, outputs, precision, threads, lone_calls)


def _outputs(signature: Any) -> list[str]:
    """In OpenVINO's order, which is that of the names in the graph ("Identity_10:0" before
    "Identity_1:0"). Its own names mislead: an output that is called as an input gets a number, and
    one that is an input gets the name of that.
    """
    names = sorted(signature.structured_outputs)  # the order of the signature's own
    inner = [tensor.name for tensor in signature.outputs]
    return [name for _, name in sorted(zip(inner, names, strict=True))]
