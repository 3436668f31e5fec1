"""TensorFlow itself, as it was loaded."""

from typing import Any

import numpy.typing as npt
import tensorflow as tf

from serving.runtime.executors import Scores


class TensorFlowExecutor:
    name = "tensorflow"

    def __init__(self, signature: Any) -> None:
        self._signature = signature

    def predict(self, examples: npt.NDArray[Any]) -> Scores:
        outputs = self._signature(examples=tf.constant(examples))
        return Scores(outputs["logits"].numpy(), outputs["scores"].numpy())

    def close(self) -> None:
        self._signature = None
