"""OpenVINO, compiled for this machine's CPU when a version is loaded."""

import sys
import threading
from typing import Any

import numpy.typing as npt

# Left in, it forks this process for each of a dozen messages to Google Analytics, at every
# import and conversion. Without it, OpenVINO takes its own stub.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402

from serving.runtime.executors import Scores  # noqa: E402

CONFIGURATION = {
    # Left alone, OpenVINO computes in bfloat16 where the CPU has it: 0.06 off in a logit.
    "INFERENCE_PRECISION_HINT": "f32",
    # All cores to one batch: a model has one batch under way at a time.
    "PERFORMANCE_HINT": "LATENCY",
}


class OpenVINOExecutor:
    name = "openvino"

    def __init__(self, signature: Any) -> None:
        model = ov.convert_model(signature)
        self._compiled = ov.Core().compile_model(model, "CPU", CONFIGURATION)
        self._requests = threading.local()

    def predict(self, examples: npt.NDArray[Any]) -> Scores:
        # An infer request serves one caller at a time, so each thread has its own.
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        # The outputs are copies; the next call of this thread writes where the originals lie.
        outputs = request.infer({"examples": examples}, share_inputs=True, share_outputs=False)
        return Scores(outputs["logits"], outputs["scores"])

    def close(self) -> None:
        self._requests = threading.local()
        self._compiled = None
