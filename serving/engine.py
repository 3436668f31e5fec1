"""One classification, from files or texts to labels, whatever the protocol.

A version is pinned, inputs are decoded and preprocessed in worker threads, each example joins a
batch, scores become labels. One bad input takes nothing from the others.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.batcher import Batcher, Prediction
from serving.errors import InternalError, InvalidInput, ModelNotFound, TriptychError
from serving.manager import Manager
from serving.observability import Metrics
from serving.runtime.servable import Servable

logger = logging.getLogger(__name__)


class LoadedVersion:
    """What the manager keeps of a version: the servable, and the batcher in front of it."""

    def __init__(self, servable: Servable, batcher: Batcher):
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
    preprocess_us: int
    queue_us: int
    predict_us: int


class Ranked(NamedTuple):
    labels: list[Label]  # best first
    timing: Timing


@dataclass(frozen=True)
class Classification:
    model: str
    version: int  # the one that answered
    results: list[Ranked | TriptychError]  # one for each input, in their order


class Engine:
    """Args: workers: where inputs are decoded and preprocessed."""

    def __init__(self, manager: Manager, workers: ThreadPoolExecutor, metrics: Metrics):
        self._manager = manager
        self._workers = workers
        self._metrics = metrics

    async def classify(
        self,
        model: str,
        version: int | None,
        inputs: Sequence[bytes | str | InvalidInput],
        top_k: int,
        min_score: float,
    ) -> Classification:
        """An input that its protocol could not read comes as its InvalidInput, and stays it.

        Raises: ModelNotFound, ModelUnavailable. What is wrong with one input is its result.
        """
        with self._manager.acquire(model or self._only_model(), version) as handle:
            loaded = handle.loaded
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._one(loaded, item, top_k, min_score)) for item in inputs
                ]
            servable = loaded.servable
            return Classification(servable.name, servable.version, [t.result() for t in tasks])

    def _only_model(self) -> str:
        names = list(self._manager.models())
        if len(names) != 1:
            raise ModelNotFound(
                f"the request names no model: this server has {', '.join(names) or 'none'}"
            )
        return names[0]

    async def _one(
        self, loaded: Any, item: bytes | str | InvalidInput, top_k: int, min_score: float
    ) -> Ranked | TriptychError:
        servable: Servable = loaded.servable
        result: Ranked | TriptychError
        try:
            result = await self._rank(loaded, item, top_k, min_score)
        except TriptychError as error:
            result = error
        except Exception:
            number = uuid.uuid4().hex[:8]
            logger.exception("error %s, while model %r classified", number, servable.name)
            result = InternalError(f"an error of the server's own: its log has it as {number}")
        outcome = "ok" if isinstance(result, Ranked) else type(result).__name__
        self._metrics.inputs(servable.name, outcome)
        if isinstance(result, Ranked):
            self._metrics.stages(servable.name, *(us / 1e6 for us in result.timing))
        return result

    async def _rank(
        self, loaded: Any, item: bytes | str | InvalidInput, top_k: int, min_score: float
    ) -> Ranked:
        if isinstance(item, InvalidInput):
            raise item
        servable: Servable = loaded.servable
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        example = await loop.run_in_executor(
            self._workers, lambda: servable.preprocess(servable.decode(item))
        )
        preprocess_us = round((time.monotonic() - started) * 1e6)
        prediction: Prediction = await loaded.batcher.predict(example)
        labels = rank(prediction.scores, servable.manifest.labels, top_k, min_score)
        return Ranked(labels, Timing(preprocess_us, prediction.queue_us, prediction.predict_us))


def rank(
    scores: npt.NDArray[np.float32], labels: Sequence[str], top_k: int, min_score: float
) -> list[Label]:
    """The best `top_k` of at least `min_score`, best first; of equals, the lower class_id first."""
    best = np.argsort(-scores, kind="stable")[:top_k]
    return [Label(labels[i], float(scores[i]), int(i)) for i in best if scores[i] >= min_score]
