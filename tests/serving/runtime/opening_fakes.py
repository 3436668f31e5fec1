"""What the tests of opening share: executors that take as long as they say, on their own clock."""

import numpy as np

from serving.runtime.cache import Cache
from serving.runtime.endpoint import Endpoint, TensorSpec
from serving.runtime.executors import EXECUTORS
from serving.runtime.opening import Wish, open_endpoint

FLOAT = np.dtype(np.float32)
ENDPOINT = Endpoint(
    "predict",
    {"examples": TensorSpec("examples", FLOAT, (None, 2))},
    {name: TensorSpec(name, FLOAT, (None, 2)) for name in ("logits", "scores")},
    batched=True,
)
PROBES = [{"examples": np.array([row], np.float32)} for row in ([1, 2], [100, 200])]
INSTANT = 1e-6


def changed(output, by):
    return lambda outputs: outputs | {output: outputs[output] + np.float32(by)}


class Executor:
    lanes = threads = 1

    def __init__(self, house, name, precision, seconds, spoil, run_error):
        self.house, self.name, self.precision = house, name, precision
        self.seconds, self.spoil, self.run_error = seconds, spoil, run_error
        self.batches = []
        self.closed = False

    def run(self, inputs, alone=False):
        assert not self.closed
        if self.run_error is not None:
            raise self.run_error
        x = inputs["examples"]
        self.batches.append(len(x))
        self.house.now += self.seconds(len(x))
        scores = x / np.sum(x, axis=1, keepdims=True)
        return self.spoil({"logits": x, "scores": scores})

    def close(self):
        self.closed = True


class House:
    """`EXECUTORS` of fakes."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch
        self.executors = []
        self.now = 0.0
        for name in list(EXECUTORS):
            monkeypatch.delitem(EXECUTORS, name)

    def clock(self):
        self.now += INSTANT
        return self.now

    def add(
        self,
        name,
        seconds=lambda rows: 0.01,
        spoil=lambda outputs: outputs,
        bf16=None,
        bf16_gain=2.0,
        has_bf16=True,
        open_error=None,
        run_error=None,
    ):
        """bf16: what it does to the outputs in that precision, as `spoil` in f32; its executor is
        then `bf16_gain` times as fast. has_bf16: else it computes in f32 whatever it is asked.
        """

        def opened(signature, precision, threads, cache, key, lone_calls):
            if open_error is not None:
                raise open_error
            if not has_bf16:
                precision = "f32"
            rough = precision == "bf16"
            executor = Executor(
                self,
                name,
                precision,
                (lambda rows: seconds(rows) / bf16_gain) if rough else seconds,
                bf16 if rough else spoil,
                run_error,
            )
            self.executors.append(executor)
            return executor

        self.monkeypatch.setitem(EXECUTORS, name, opened)

    def open(self, wish=None, endpoint=ENDPOINT, probes=PROBES, cache=None, key="weights"):
        wish = wish or Wish("auto")
        return open_endpoint(None, endpoint, probes, wish, cache or Cache(None), key)

    def names_opened(self):
        return [executor.name for executor in self.executors]

    def closed(self):
        return [executor.name for executor in self.executors if executor.closed]
