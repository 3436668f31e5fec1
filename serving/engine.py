"""One classification: bytes in, ranked labels out. The same for every wire protocol.

Which version answers is the manager's matter, who shares a batch the batcher's, and what the
caller reads of it the protocol's.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.batcher import Batcher, Prediction
from serving.errors import InternalError, InvalidInput, ModelNotFound, QueueFull, TriptychError
from serving.manager import Handle, Loaded, Manager
from serving.observability import Metrics
from serving.runtime.servable import Servable
from serving.settings import Settings

logger = logging.getLogger(__name__)

Item = bytes | str | InvalidInput  # the last: what the protocol could not read


class LoadedVersion:
    """What the manager keeps of a version: the servable, and the batcher in front of it."""

    def __init__(self, servable: Servable, batcher: Batcher) -> None:
        self.servable = servable
        self.batcher = batcher

    async def close(self) -> None:
        await self.batcher.close()
        self.servable.close()


class Label(NamedTuple):
    label: str
    score: float
    class_id: int


class Timing(NamedTuple):
    """Of the input that took longest; the whole call for `total_us`."""

    total_us: int = 0
    preprocess_us: int = 0
    queue_us: int = 0
    predict_us: int = 0


class Classification(NamedTuple):
    model: str
    version: int
    results: list[list[Label] | TriptychError]  # one for each input, in order
    timing: Timing


class Engine:
    """
    Args:
        workers: the threads that decode and preprocess, of all models.
    """

    def __init__(
        self, manager: Manager, metrics: Metrics, settings: Settings, workers: ThreadPoolExecutor
    ) -> None:
        self._manager = manager
        self._metrics = metrics
        self._settings = settings
        self._workers = workers
        self._in_progress: Counter[str] = Counter()  # inputs, by model

    def model_name(self, name: str) -> str:
        """`name`, or the only model's if it is empty. Raises: ModelNotFound if there are more."""
        known = list(self._manager.models()) if not name else []
        if len(known) > 1:
            raise ModelNotFound(f"no model is named; this server has {', '.join(known)}")
        return known[0] if known else name

    async def classify(
        self,
        model: str,
        version: int | None,
        inputs: Sequence[Item],
        top_k: int,
        min_score: float,
    ) -> Classification:
        """All inputs through one version; what is wrong with one of them is its result.

        Raises: ModelNotFound, ModelUnavailable. QueueFull if as many inputs are in progress as
                may be: a request is taken whole, or not at all.
        """
        began = time.perf_counter()
        with (
            self._manager.acquire(self.model_name(model), version) as handle,
            self._admit(handle.name, len(inputs)),
        ):
            # A request of many leaves room between its inputs for those of others.
            slots = asyncio.Semaphore(self._settings.preprocess_threads)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._answer(handle, item, slots, top_k, min_score))
                    for item in inputs
                ]
        answers = [task.result() for task in tasks]
        slowest = max((timing for _, timing in answers), default=Timing())
        return Classification(
            model=handle.name,
            version=handle.version,
            results=[result for result, _ in answers],
            timing=slowest._replace(total_us=_us(time.perf_counter() - began)),
        )

    @contextmanager
    def _admit(self, model: str, inputs: int) -> Iterator[None]:
        most = self._settings.max_queue_size
        before = self._in_progress[model]
        # A request alone is taken, whatever its size.
        if before and before + inputs > most:
            raise QueueFull(
                f"{before} inputs of model {model!r} are in progress, and with {inputs} more it "
                f"were over {most}: send them later, or raise TRIPTYCH_MAX_QUEUE_SIZE"
            )
        self._in_progress[model] += inputs
        try:
            yield
        finally:
            self._in_progress[model] -= inputs
            if not self._in_progress[model]:
                del self._in_progress[model]

    async def _answer(
        self, handle: Handle, item: Item, slots: asyncio.Semaphore, top_k: int, min_score: float
    ) -> tuple[list[Label] | TriptychError, Timing]:
        try:
            if isinstance(item, InvalidInput):
                raise item
            prediction, timing = await self._predict(handle.loaded, item, slots)
            labels = rank(
                prediction.scores, handle.loaded.servable.manifest.labels, top_k, min_score
            )
        except InvalidInput as error:
            self._metrics.inputs(handle.name, "invalid")
            return error, Timing()
        except TriptychError as error:
            self._metrics.inputs(handle.name, "refused")
            return error, Timing()
        except Exception as error:
            self._metrics.inputs(handle.name, "failed")
            return internal_error(error), Timing()
        self._metrics.inputs(handle.name, "classified")
        stages_us = (timing.preprocess_us, timing.queue_us, timing.predict_us)
        self._metrics.stages(handle.name, *(us / 1e6 for us in stages_us))
        return labels, timing

    async def _predict(
        self, loaded: Loaded, item: bytes | str, slots: asyncio.Semaphore
    ) -> tuple[Prediction, Timing]:
        began = time.perf_counter()
        async with slots:
            example = await asyncio.get_running_loop().run_in_executor(
                self._workers, _example, loaded.servable, item
            )
        preprocess_us = _us(time.perf_counter() - began)
        prediction = await loaded.batcher.predict(example)
        total_us = _us(time.perf_counter() - began)
        return prediction, Timing(
            total_us, preprocess_us, prediction.queue_us, prediction.predict_us
        )


def rank(
    scores: npt.NDArray[np.float32], labels: Sequence[str], top_k: int, min_score: float
) -> list[Label]:
    """The best first, and of equals the lower class_id. Linear in the number of classes."""
    if np.isnan(scores).any():
        raise ValueError("the network's scores are not numbers")
    top_k = min(top_k, len(scores))
    least = max(np.partition(scores, -top_k)[-top_k], min_score)
    candidates = np.flatnonzero(scores >= least)
    best = candidates[np.argsort(-scores[candidates], kind="stable")][:top_k]
    return [Label(labels[i], float(scores[i]), int(i)) for i in best]


def internal_error(error: Exception) -> InternalError:
    """What a caller may know of `error`, which goes to the log."""
    number = uuid.uuid4().hex[:8]
    logger.error("internal error, id %s", number, exc_info=error)
    return InternalError(f"internal error, see the server's log (id {number})")


def _example(servable: Servable, item: bytes | str) -> npt.NDArray[Any]:
    """In a worker thread, in one go, so that few decoded inputs are in memory at once."""
    return servable.preprocess(servable.decode(item))


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
