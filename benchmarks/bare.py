"""The executor alone, as the server opens it: no queue, no wire; or a wire and nothing else. Asked
by lines of JSON.

python -m benchmarks.bare VERSION_FOLDER CACHE EXECUTOR PRECISION FILE...
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.empty_call import serve
from benchmarks.processes import answer, free_port
from serving.runtime.cache import Cache
from serving.runtime.opening import Wish
from serving.runtime.saved_model import limit_tensorflow
from serving.runtime.servable import Servable
from serving.runtime.threads import thread_budget

MEASURE_SECONDS = 2.0  # at load, as the server does


class Bare:
    """Args: files: encoded inputs."""

    def __init__(
        self, folder: Path, cache: Path, executor: str, precision: str, files: list[bytes]
    ) -> None:
        threads = thread_budget()
        limit_tensorflow(threads)
        wish = Wish(executor, precision, threads, seconds=MEASURE_SECONDS)
        self._servable = Servable.load(folder, wish=wish, cache=Cache(cache))
        self._files = files
        self._example = self._servable.preprocess(self._servable.decode(files[0]))

    def respond(self, what: str, **question: Any) -> dict[str, Any]:
        asked = {
            "describe": self._describe,
            "decode": self._decode,
            "compute": self._compute,
            "serve": self._serve,
        }
        return asked[what](**question)

    def _describe(self) -> dict[str, Any]:
        servable = self._servable
        scores = servable.predict(self._example[np.newaxis])
        return {
            "executor": servable.executor_name,
            "precision": servable.precision,
            "lanes": servable.executor.lanes,
            "best_batch_size": servable.best_batch_size,
            "speeds": servable.report.speeds,
            "notes": servable.report.notes,
            "example_bytes": self._example.nbytes,
            "answer_bytes": sum(value.nbytes for value in scores),
            "file_bytes": sum(map(len, self._files)) // len(self._files),
        }

    def _compute(self, batch: int, seconds: float, alone: bool = False) -> dict[str, Any]:
        """By as many callers as the executor has lanes, or by one that has all its threads."""
        examples = np.repeat(self._example[np.newaxis], batch, axis=0)
        executor = self._servable.executor
        lanes = 1 if alone else executor.lanes
        return _timed(
            lambda: executor.run({"examples": examples}, alone=alone), lanes, seconds, batch
        )

    def _decode(self, seconds: float) -> dict[str, Any]:
        """Files to examples, in one thread."""
        servable = self._servable
        turns = iter(range(2**62))

        def one() -> None:
            servable.preprocess(servable.decode(self._files[next(turns) % len(self._files)]))

        return _timed(one, 1, seconds, 1)

    def _serve(self) -> dict[str, Any]:
        """An empty call that computes: on gRPC's loop, for one caller, who sends an example's bytes
        and perhaps more. No server with this executor and grpc.aio answers one call sooner."""
        executor, example = self._servable.executor, self._example

        def compute(request: bytes) -> bytes:
            sent = np.frombuffer(request, example.dtype, example.size)
            outputs = executor.run({"examples": sent.reshape(1, *example.shape)}, alone=True)
            return b"".join(value.tobytes() for value in outputs.values())

        port = free_port()
        loop = threading.Thread(target=asyncio.run, args=(serve(port, compute),), daemon=True)
        loop.start()
        return {"port": port}


def _timed(run: Callable[[], Any], threads: int, seconds: float, inputs: int) -> dict[str, Any]:
    """Each thread ends with a run's end; a quarter of the time before warms up."""
    taken: list[list[float]] = [[] for _ in range(threads)]
    together = threading.Barrier(threads + 1)

    def work(mine: list[float]) -> None:
        warm = time.perf_counter() + seconds / 4
        while time.perf_counter() < warm:
            run()
        together.wait()
        began = time.perf_counter()
        end = began + seconds
        while began < end:
            run()
            ended = time.perf_counter()
            mine.append(ended - began)
            began = ended

    workers = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for worker in workers:
        worker.start()
    together.wait()
    cores = time.process_time()
    for worker in workers:
        worker.join()
    cores = time.process_time() - cores
    return {
        "inputs_per_second": sum(len(mine) * inputs / sum(mine) for mine in taken),
        "core_seconds_an_input": cores / (sum(map(len, taken)) * inputs),
        "p50_ms": float(np.median(np.concatenate(taken))) * 1e3,
    }


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder, cache, executor, precision, *paths = sys.argv[1:]
    contents = [Path(path).read_bytes() for path in paths]
    answer(Bare(Path(folder), Path(cache), executor, precision, contents).respond)
