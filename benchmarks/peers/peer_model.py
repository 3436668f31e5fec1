"""What every peer serves: a SavedModel's `predict`, called as TensorFlow's guide does.

Imported by the peers' files, in their own virtual environments: nothing of ours is there.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

OUTPUTS = ("logits", "scores")


class Arguments(argparse.Namespace):
    """
    threads:   of one operation of TensorFlow; 0 is its own choice, one for each core.
    instances: of the model, that compute side by side, where the peer has such a setting.
    """

    saved_model: str
    model: str
    shape: list[int]
    port: int
    http_port: int
    threads: int
    instances: int
    max_batch_size: int
    delay_us: int


def arguments() -> Arguments:
    """From the variable PEER, as some peers start processes with command lines of their own."""
    return Arguments(**json.loads(os.environ["PEER"]))


class PeerModel:
    def __init__(self, given: Arguments) -> None:
        if given.threads:
            tf.config.threading.set_intra_op_parallelism_threads(given.threads)
        self._saved_model = tf.saved_model.load(given.saved_model)
        self._predict = self._saved_model.signatures["predict"]
        (spec,) = self._predict.structured_input_signature[1].values()
        self.shape: tuple[int, ...] = tuple(spec.shape[1:])
        outputs = self._predict.structured_outputs
        self.answers: dict[str, tuple[int, ...]] = {n: tuple(outputs[n].shape[1:]) for n in OUTPUTS}
        size = 1
        while size <= given.max_batch_size:  # so that no request waits for a first run
            self(np.zeros((size, *self.shape), np.float32))
            size *= 2

    def __call__(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        answer = self._predict(examples=tf.constant(examples))
        return {name: answer[name].numpy() for name in OUTPUTS}

    def rows(self, examples: np.ndarray) -> np.ndarray:
        """[B, 2, K]: both outputs in one array, for those that carry one."""
        return np.stack(list(self(examples).values()), axis=1)
