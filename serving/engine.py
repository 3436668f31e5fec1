"""One call: tensors in, tensors out; or bytes in, ranked labels out. The same for every protocol.

Which version answers is the manager's matter, who shares a batch the batcher's, and what the
caller reads of it the protocol's.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.account import Account
from serving.admission import Admission, Room
from serving.batch import Prediction
from serving.batcher import Batcher
from serving.errors import (
    InternalError,
    InvalidInput,
    ModelNotFound,
    QueueTimeout,
    TriptychError,
)
from serving.manager import Handle, Manager
from serving.observability import Metrics
from serving.preprocessor import Preprocessor
from serving.runtime import garbage
from serving.runtime.affinity import spread
from serving.runtime.endpoint import Tensors
from serving.runtime.ranking import Label, rank
from serving.runtime.servable import Servable
from serving.settings import Settings
from serving.statistics import VersionStatistics

logger = logging.getLogger(__name__)

Item = bytes | str | InvalidInput  # the last: what the protocol could not read


class LoadedVersion:
    """What the manager keeps of a version: the servable, and the batcher in front of it."""

    def __init__(self, servable: Servable, batcher: Batcher, statistics: VersionStatistics) -> None:
        self.servable = servable
        self.batcher = batcher
        self.statistics = statistics

    async def close(self) -> None:
        await self.batcher.close()
        await asyncio.to_thread(self._free)

    def _free(self) -> None:
        self.servable.close()
        garbage.collect()


class Answer(NamedTuple):
    model: str
    version: int
    endpoint: str
    outputs: dict[str, npt.NDArray[Any]]
    account: Account


class Classification(NamedTuple):
    model: str
    version: int
    results: list[list[Label] | TriptychError]  # one for each input, in order
    account: Account
    total_us: int


class Engine:
    """
    A call that gets a version and no answer counts as failed in the version's statistics, be it
    refused, cancelled or our mistake. One of `classify` has an answer if one of its inputs has.

    Args:
        workers: the threads that decode and preprocess, of all models.
    """

    def __init__(
        self, manager: Manager, metrics: Metrics, settings: Settings, workers: ThreadPoolExecutor
    ) -> None:
        self._manager = manager
        self._metrics = metrics
        self._workers = workers
        self._preprocessor = Preprocessor(workers, settings.preprocess_threads)
        self._admission = Admission()
        self._statistics: dict[str, dict[int, VersionStatistics]] = {}
        self._last_ended = -math.inf

    @property
    def idle_seconds(self) -> float:
        """Since a call ended."""
        return time.monotonic() - self._last_ended

    def model_name(self, name: str) -> str:
        """`name`, or the only model's if it is empty. Raises: ModelNotFound if there are more."""
        known = list(self._manager.models()) if not name else []
        if len(known) > 1:
            raise ModelNotFound(f"no model is named; this server has {', '.join(known)}")
        return known[0] if known else name

    def acquire(self, model: str, version: int | None = None, label: str | None = None) -> Handle:
        """Pins a version until the `with` block ends. Neither version nor label: the newest ready.

        Raises: ModelNotFound, LabelNotFound, ModelUnavailable.
        """
        return self._manager.acquire(model, version, label=label)

    def statistics(self, model: str) -> Mapping[int, VersionStatistics]:
        """By version, of those that were ever called. Raises: ModelNotFound."""
        self._manager.status(model)
        return self._statistics.get(model, {})

    async def infer(
        self,
        handle: Handle,
        endpoint: str,
        inputs: Tensors,
        *,
        priority: int = 0,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """
        Args:   priority: in the queue, the lower goes first.
                timeout_seconds: for the wait in the queue; None is the model's own.
        Raises: InvalidInput, QueueFull, QueueTimeout, ModelUnavailable, InternalError.
        """
        servable = handle.loaded.servable
        began = time.perf_counter_ns()
        try:
            servable.endpoint(endpoint).check(inputs)
            rows = len(next(iter(inputs.values()))) if servable.endpoints[endpoint].batched else 1
            if endpoint == servable.default_endpoint:
                prediction = await handle.loaded.batcher.predict(
                    inputs, priority=priority, timeout_seconds=timeout_seconds
                )
                outputs, decode_us = prediction.outputs, 0
            elif endpoint in servable.raw_endpoints:
                (encoded,) = inputs.values()
                with self._admission.admit(handle, len(encoded)):
                    prediction, decode_us = await self._predict_all(
                        handle, encoded, priority, timeout_seconds
                    )
                outputs = _classes_and_scores(servable, prediction)
            else:
                with self._admission.admit(handle, rows):
                    prediction = await self._run_alone(handle, endpoint, inputs, timeout_seconds)
                outputs, decode_us = prediction.outputs, 0
        except BaseException as error:
            self._count_failure(handle, began)
            if isinstance(error, TriptychError) or not isinstance(error, Exception):
                raise
            raise internal_error(error) from None
        account = Account(
            prediction.queue_us,
            decode_us,
            prediction.compute_us,
            prediction.batch_size,
            handle.version,
            servable.executor_name,
        )
        self._count(handle, account, rows, began)
        return Answer(handle.name, handle.version, endpoint, outputs, account)

    async def classify(
        self,
        model: str,
        version: int | None,
        inputs: Sequence[Item],
        top_k: int,
        min_score: float,
        *,
        label: str | None = None,
    ) -> Classification:
        """All inputs through one version; what is wrong with one of them is its result.

        Raises: ModelNotFound, LabelNotFound, ModelUnavailable. InvalidInput if the model has no
                labels. QueueFull if as many inputs are in progress as may be: a request is taken
                whole, or not at all.
        """
        began = time.perf_counter_ns()
        with self.acquire(self.model_name(model), version, label) as handle:
            try:
                answers = await self._answer_all(handle, inputs, top_k, min_score)
            except BaseException:
                self._count_failure(handle, began)
                raise
        accounts = [account for _, account in answers] or [Account()]
        slowest = max(accounts, key=lambda account: account.total_us)
        if all(isinstance(result, TriptychError) for result, _ in answers):
            self._count_failure(handle, began)
        else:
            self._count(handle, slowest, 0, began)
        return Classification(
            model=handle.name,
            version=handle.version,
            results=[result for result, _ in answers],
            account=slowest._replace(
                version=handle.version, executor=handle.loaded.servable.executor_name
            ),
            total_us=(time.perf_counter_ns() - began) // 1000,
        )

    async def _answer_all(
        self, handle: Handle, inputs: Sequence[Item], top_k: int, min_score: float
    ) -> list[tuple[list[Label] | TriptychError, Account]]:
        with self._admission.admit(handle, len(inputs)):
            if not handle.loaded.servable.labels:
                raise InvalidInput(
                    f"model {handle.name!r} was not exported by triptych, so it has no labels and "
                    "no decoding: send it tensors by the Open Inference Protocol or as to "
                    "TensorFlow Serving"
                )
            room = Room.of(handle, self._preprocessor.most_at_once)
            if len(inputs) == 1:
                return [await self._answer(handle, inputs[0], room, top_k, min_score)]
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._answer(handle, item, room, top_k, min_score))
                    for item in inputs
                ]
            return [task.result() for task in tasks]

    async def _answer(
        self, handle: Handle, item: Item, room: Room, top_k: int, min_score: float
    ) -> tuple[list[Label] | TriptychError, Account]:
        try:
            if isinstance(item, InvalidInput):
                raise item
            prediction, decode_us = await self._predict(handle, item, room)
            scores = prediction.outputs["scores"][0]
            labels = rank(scores, handle.loaded.servable.labels, top_k, min_score)
        except InvalidInput as error:
            self._metrics.inputs(handle.name, "invalid")
            return error, Account()
        except TriptychError as error:
            self._metrics.inputs(handle.name, "refused")
            return error, Account()
        except Exception as error:
            self._metrics.inputs(handle.name, "failed")
            return internal_error(error), Account()
        self._metrics.inputs(handle.name, "classified")
        return labels, Account(
            prediction.queue_us, decode_us, prediction.compute_us, prediction.batch_size
        )

    async def _predict(
        self,
        handle: Handle,
        item: bytes | str,
        room: Room,
        priority: int = 0,
        timeout_seconds: float | None = None,
    ) -> tuple[Prediction, int]:
        """One encoded input. Returns: what was predicted, and the microseconds of decoding."""
        began = time.perf_counter_ns()
        async with room.waiting:
            async with room.decoding:
                example = await self._preprocessor.example(
                    handle.loaded.servable, item, self._company(handle)
                )
            decode_us = (time.perf_counter_ns() - began) // 1000
            prediction = await handle.loaded.batcher.predict(
                {"examples": example}, priority=priority, timeout_seconds=timeout_seconds
            )
        return prediction, decode_us

    def _company(self, handle: Handle) -> int:
        """That an input may wait for: none if a lane has nothing to do, else its batch's."""
        batcher = handle.loaded.batcher
        if batcher.has_free_lane:
            return 1
        return batcher.share_of(self._admission.in_progress(handle))

    async def _predict_all(
        self,
        handle: Handle,
        encoded: npt.NDArray[Any],
        priority: int,
        timeout_seconds: float | None,
    ) -> tuple[Prediction, int]:
        """Raises: InvalidInput, naming the first input that cannot be read."""
        room = Room.of(handle, self._preprocessor.most_at_once)

        async def one(index: int, item: bytes) -> tuple[Prediction, int]:
            try:
                return await self._predict(handle, item, room, priority, timeout_seconds)
            except InvalidInput as error:
                raise InvalidInput(f"input {index}: {error}") from None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(i, item)) for i, item in enumerate(encoded)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        done = [task.result() for task in tasks]
        slowest, _ = max(done, key=lambda pair: pair[0].queue_us + pair[0].compute_us)
        scores = np.concatenate([prediction.outputs["scores"] for prediction, _ in done])
        return slowest._replace(outputs={"scores": scores}), max(us for _, us in done)

    async def _run_alone(
        self, handle: Handle, endpoint: str, inputs: Tensors, timeout_seconds: float | None
    ) -> Prediction:
        """An endpoint that shares no batches. Its queue is that for a worker."""
        arrived = time.perf_counter_ns()
        loaded = handle.loaded
        if timeout_seconds is None:
            timeout_seconds = loaded.batcher.batching.queue_timeout_seconds

        def run() -> tuple[dict[str, npt.NDArray[Any]], int, int]:
            spread()  # it computes, in a thread that may have decoded before
            began = time.perf_counter_ns()
            outputs = loaded.servable.run(endpoint, inputs)
            return outputs, began, time.perf_counter_ns()

        running = self._workers.submit(run)
        answer = asyncio.wrap_future(running)
        try:
            if timeout_seconds < math.inf:
                await asyncio.wait({answer}, timeout=timeout_seconds)
                if running.cancel():  # which only works before it has begun
                    waited = (time.perf_counter_ns() - arrived) / 1e9
                    raise QueueTimeout(
                        f"it waited {waited:.3f} s for a worker: allow more, or send fewer at once"
                    )
            outputs, began, ended = await answer
        finally:
            answer.cancel()  # for a caller that leaves
        return Prediction(outputs, (began - arrived) // 1000, (ended - began) // 1000, 1)

    def _count(self, handle: Handle, account: Account, rows: int, began_ns: int) -> None:
        if rows:
            self._metrics.inputs(handle.name, "classified", rows)
        stages_us = (account.decode_us, account.queue_us, account.compute_us)
        self._metrics.stages(handle.name, *(us / 1e6 for us in stages_us))
        self._statistics_of(handle).call(
            time.perf_counter_ns() - began_ns,
            account.queue_us,
            account.decode_us,
            account.compute_us,
        )

    def _count_failure(self, handle: Handle, began_ns: int) -> None:
        self._statistics_of(handle).fail.add(time.perf_counter_ns() - began_ns)

    def _statistics_of(self, handle: Handle) -> VersionStatistics:
        self._last_ended = time.monotonic()
        statistics = handle.loaded.statistics
        self._statistics.setdefault(handle.name, {})[handle.version] = statistics
        return statistics


def internal_error(error: Exception) -> InternalError:
    """What a caller may know of `error`, which goes to the log."""
    number = uuid.uuid4().hex[:8]
    logger.error("internal error, id %s", number, exc_info=error)
    return InternalError(f"internal error, see the server's log (id {number})")


def _classes_and_scores(servable: Servable, prediction: Prediction) -> dict[str, Any]:
    """As the artefact's own `classify` answers: labels in class order, the same in each row."""
    scores = prediction.outputs["scores"]
    labels = np.array([label.encode() for label in servable.labels], object)
    return {"classes": np.broadcast_to(labels, scores.shape), "scores": scores}
