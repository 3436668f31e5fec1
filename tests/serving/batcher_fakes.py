"""What the tests of the batcher share: an executor driven by hand, which ends when they say."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.runtime.executors import joined


def example(number, shape=(2,), rows=1):
    """Rows that tell their caller, and their place, from all others."""
    values = number + np.arange(rows, dtype=np.float32) / 100
    return {"x": np.broadcast_to(values.reshape(-1, *[1] * len(shape)), (rows, *shape)).copy()}


def compute(inputs):
    """Row by row, so that no example can answer for another."""
    totals = inputs["x"].reshape(len(inputs["x"]), -1).sum(axis=1)
    return {"total": totals, "pair": np.stack([totals / 2, -totals], axis=1)}


def is_answer(prediction, number, shape=(2,), rows=1):
    wanted = compute(example(number, shape, rows))
    return prediction.outputs.keys() == wanted.keys() and all(
        np.array_equal(prediction.outputs[name], value) for name, value in wanted.items()
    )


class Executor:
    """Holds each batch until the test lets it go. `wrong` gives the error of a batch that fails."""

    name = "fake"
    precision = "f32"
    queues = False

    def __init__(self, lanes=1, threads=1, wrong=lambda inputs: None, answer=compute):
        self.lanes = lanes
        self.threads = threads
        self.wrong = wrong
        self.answer = answer
        self.batches = []  # the numbers of their rows
        self.alone = []  # of each, whether it had all threads
        self.seen = []  # the inputs themselves
        self.permits = threading.Semaphore(0)
        self.loop = asyncio.get_running_loop()
        self.began = asyncio.Semaphore(0)
        self.used = set()
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0

    def run(self, *parts, alone=False, here=True):
        inputs = joined(parts)
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
            self.used.add(threading.current_thread())
            self.seen.append(inputs)
            self.alone.append(alone)
            first = inputs["x"].reshape(len(inputs["x"]), -1)[:, 0]
            self.batches.append([round(float(number), 2) for number in first])
        self.loop.call_soon_threadsafe(self.began.release)
        try:
            assert self.permits.acquire(timeout=10)
            error = self.wrong(inputs)
            if error is not None:
                raise error
            return self.answer(inputs)
        finally:
            with self.lock:
                self.at_once -= 1

    def let_go(self, batches=1):
        self.permits.release(batches)

    def close(self): ...


class Immediate:
    """An executor that holds nothing."""

    name = "fake"
    precision = "f32"
    queues = False

    def __init__(self, answer=compute, lanes=1, threads=1):
        self.answer = answer
        self.lanes = lanes
        self.threads = threads

    def run(self, *parts, alone=False, here=True):
        return self.answer(joined(parts))

    def close(self): ...


class Queueing:
    """Has lanes of its own, and a queue in front of them, as OpenVINO has. Each batch waits in its
    lane for a permit of the test, unless there are `permits` for all.
    """

    name = "fake"
    precision = "f32"
    queues = True
    threads = 1

    def __init__(self, lanes=1, permits=0, answer=compute):
        self.lanes = lanes
        self.answer = answer
        self.batches = []  # the numbers of their rows, as they were computed
        self.here = []  # of each, as it was taken, whether the calling thread may compute
        self.loop = asyncio.get_running_loop()
        self.taken = asyncio.Semaphore(0)
        self.permits = threading.Semaphore(permits)
        self._lanes = ThreadPoolExecutor(lanes)

    def run(self, *parts, alone=False, here=True):
        self.here.append(here)
        run = self._lanes.submit(self._compute, joined(parts))
        self.loop.call_soon_threadsafe(self.taken.release)
        return run.result(timeout=10)

    def _compute(self, inputs):
        assert self.permits.acquire(timeout=10)
        first = inputs["x"].reshape(len(inputs["x"]), -1)[:, 0]
        self.batches.append([round(float(number), 2) for number in first])
        return self.answer(inputs)

    def let_go(self, batches=1):
        self.permits.release(batches)

    def close(self):
        self._lanes.shutdown()


async def call(batcher, numbers, shape=(2,), rows=1, **how):
    """One task a number, all of them queued by the time this returns."""
    tasks = [
        asyncio.create_task(batcher.predict(example(number, shape, rows), **how))
        for number in numbers
    ]
    await asyncio.sleep(0)
    return tasks


async def busy(batcher, executor, rows=1):
    """Has the batcher run one call, number 0. With one lane, as many rows share the next batch."""
    (first,) = await call(batcher, [0], rows=rows)
    await executor.began.acquire()
    return first
