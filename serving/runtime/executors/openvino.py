"""OpenVINO, compiled for this machine's CPU."""

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

# Left in, it forks this process for each of a dozen messages to Google Analytics, at every
# import and conversion. Without it, OpenVINO takes its own stub.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402

from serving.runtime.cache import Cache  # noqa: E402
from serving.runtime.endpoint import Tensors  # noqa: E402
from serving.runtime.executors import Outputs  # noqa: E402


class OpenVINOExecutor:
    """
    Args: compiled: its streams are the lanes.
          outputs: their names, in order.
          threads: of one lane.
    """

    name = "openvino"

    def __init__(self, compiled: Any, outputs: Sequence[str], threads: int) -> None:
        if len(compiled.outputs) != len(outputs):
            raise RuntimeError(f"{len(compiled.outputs)} outputs instead of {len(outputs)}")
        self.precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.lanes = int(compiled.get_property("NUM_STREAMS"))
        self.threads = threads
        self._compiled = compiled
        self._outputs = list(enumerate(outputs))
        self._requests = threading.local()

    def run(self, inputs: Tensors) -> Outputs:
        # An infer request serves one caller at a time, so each thread has its own.
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        request.infer(inputs, share_inputs=True, share_outputs=True)
        # Copies: the next run of this thread writes where the originals lie.
        return {name: request.get_output_tensor(i).data.copy() for i, name in self._outputs}

    def close(self) -> None:
        self._requests = threading.local()
        self._compiled = None


def open_signature(
    signature: Any, precision: str, threads: int, cache: Cache, key: str
) -> OpenVINOExecutor:
    """Compiles a SavedModel's signature, or takes what was compiled for this machine before."""
    configuration = {
        # Left alone, OpenVINO computes in bfloat16 where the CPU has it: 0.06 off in a logit.
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
    }
    core = ov.Core()
    cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
    abilities = sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    place = f"openvino {ov.__version__} {cpu} {abilities} {configuration} {key}"
    outputs = _outputs(signature)
    blob = cache.read(place)
    if blob is not None:
        with suppress(RuntimeError):  # cut short, or of a build that only looks the same
            compiled = core.import_model(blob, "CPU", configuration)
            return OpenVINOExecutor(compiled, outputs, threads)
    compiled = core.compile_model(ov.convert_model(signature), "CPU", configuration)
    exported = compiled.export_model()
    cache.write(place, exported if isinstance(exported, bytes) else exported.getvalue())
    return OpenVINOExecutor(compiled, outputs, threads)


def _outputs(signature: Any) -> list[str]:
    """In OpenVINO's order, which is that of the names in the graph ("Identity_10:0" before
    "Identity_1:0"). Its own names mislead: an output that is called as an input gets a number, and
    one that is an input gets the name of that.
    """
    names = sorted(signature.structured_outputs)  # the order of the signature's own
    inner = [tensor.name for tensor in signature.outputs]
    return [name for _, name in sorted(zip(inner, names, strict=True))]
