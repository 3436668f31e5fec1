"""One input explained, in a process of its own, so that who classifies goes before it.

In a thread it would hold the interpreter at its low priority, and TensorFlow compute in threads
that have no other than those that answer. What the process does is `serving.explain_worker`'s
matter, how it is held `serving.side_process`'s. asyncio, one loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from serving.engine import Engine, Item, internal_error
from serving.errors import (
    ENDING,
    InvalidInput,
    ModelUnavailable,
    NotExplainable,
    QueueFull,
    QueueTimeout,
    TriptychError,
)
from serving.explain_worker import Job
from serving.manager import Handle, Manager
from serving.runtime.explanation import BEST_CLASS, Explanation, require_method
from serving.runtime.manifest import artefact_digest
from serving.runtime.servable import EXPLAIN
from serving.settings import Settings
from serving.side_process import SideProcess

WORKER = "serving.explain_worker"
QUIET_SECONDS = 1.0  # without a call, after which nobody is held up any more
HUNG_SECONDS = 600.0  # after which a process is given up: to load TensorFlow takes some of them
IDLE_SECONDS = 600.0  # after which one that nobody needed gives its memory back
MOST_LISTED = 40  # classes in an error message
GOING = f"{ENDING}: send it to another one"


class Explained(NamedTuple):
    model: str
    version: int
    method: str
    label: str
    explanation: Explanation
    total_us: int

    @property
    def queue_us(self) -> int:
        """The rest: the wait for a process, and for that to start and to load the model."""
        return self.total_us - self.explanation.total_us


class _Wanted:
    """A job, and who waits for it. Compared by identity."""

    def __init__(self, job: Job, future: asyncio.Future[Explanation]) -> None:
        self.job = job
        self.future = future

    def answer(self, answer: Explanation | Exception) -> None:
        if self.future.done():  # its caller has left
            return
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class Explainer:
    """In the order of asking, as many at once as there are processes."""

    def __init__(self, engine: Engine, manager: Manager, settings: Settings) -> None:
        self._engine = engine
        self._manager = manager
        self._processes = settings.explain_workers
        self._nice = settings.explain_nice
        self._share = settings.explain_share
        self._most = settings.explain_queue_size
        self._seconds = settings.explain_timeout_seconds
        self._most_bytes = settings.explain_max_bytes
        self._waiting: deque[_Wanted] = deque()
        self._working: set[asyncio.Task[None]] = set()
        self._idle: list[SideProcess] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closing = False

    async def explain(
        self,
        model: str,
        version: int | None,
        item: Item,
        method: str,
        wanted: str | int | None,
        *,
        label: str | None = None,
    ) -> Explained:
        """
        Args:   version, label: as of Engine.acquire; wanted: a class by its label or its number,
                None for the best one.
        Raises: ModelNotFound, LabelNotFound, ModelUnavailable, NotExplainable, InvalidInput,
                QueueFull, QueueTimeout, InternalError.
        """
        began = time.perf_counter_ns()
        # Pinned until the answer is there: the process reads the version's folder.
        with self._engine.acquire(self._engine.model_name(model), version, label) as handle:
            _require_endpoint(handle)
            require_method(method)
            labels = handle.loaded.servable.labels
            class_id = _class_id(handle.name, labels, wanted)
            if isinstance(item, InvalidInput):
                raise item
            self._require_small(item)
            explanation = await self._answer(self._job(handle, item, method, class_id))
            chosen = labels[explanation.class_id]
            total_us = (time.perf_counter_ns() - began) // 1000
            return Explained(handle.name, handle.version, method, chosen, explanation, total_us)

    async def close(self) -> None:
        """Whoever still waits is refused, and what is being made is cut off."""
        self._closing = True
        while self._waiting:
            self._waiting.popleft().answer(ModelUnavailable(GOING))
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending)

    def _require_small(self, item: bytes | str) -> None:
        size = len(item.encode(errors="replace")) if isinstance(item, str) else len(item)
        if size > self._most_bytes:
            raise InvalidInput(
                f"the input has {size:,} bytes, and {self._most_bytes:,} are allowed where it is "
                "to be explained: send a smaller one, or raise TRIPTYCH_EXPLAIN_MAX_BYTES"
            )

    def _job(self, handle: Handle, item: bytes | str, method: str, class_id: int) -> Job:
        servable = handle.loaded.servable
        assert servable.manifest is not None
        ready = frozenset(
            str(status.servable.folder)
            for versions in self._manager.models().values()
            for status in versions.values()
            if status.servable is not None
        )
        digest = artefact_digest(servable.manifest)
        return Job(str(servable.folder), digest, ready, servable.limits, item, method, class_id)

    async def _answer(self, job: Job) -> Explanation:
        if self._closing:
            raise ModelUnavailable(GOING)
        if len(self._waiting) + len(self._working) >= self._most:
            raise QueueFull(
                f"{self._most} explanations wait or are being made: send it later, or raise "
                "TRIPTYCH_EXPLAIN_QUEUE_SIZE"
            )
        wanted = _Wanted(job, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        self._begin()
        try:
            async with asyncio.timeout(self._seconds):
                return await wanted.future
        except TimeoutError:
            raise QueueTimeout(
                f"it was not explained within {self._seconds:g} s, as classifying goes first: send "
                "it later, or raise TRIPTYCH_EXPLAIN_TIMEOUT_SECONDS"
            ) from None
        finally:
            # What is being made already goes on, for nobody: no one can stop it half-way.
            with suppress(ValueError):
                self._waiting.remove(wanted)

    def _begin(self) -> None:
        while self._waiting and len(self._working) < self._processes:
            task = self._spawn(self._working, self._work(self._waiting.popleft()))
            task.add_done_callback(lambda _: self._begin())  # once it is none of those at work

    async def _work(self, wanted: _Wanted) -> None:
        process = self._idle.pop() if self._idle else SideProcess(WORKER, self._nice)
        answer: Any
        try:
            async with asyncio.timeout(HUNG_SECONDS):
                answer = await process.ask(wanted.job)
        except BaseException as error:
            await process.kill()
            if not isinstance(error, Exception):  # the server ends
                wanted.answer(ModelUnavailable(GOING))
                raise
            answer = error
        else:
            self._idle.append(process)
            process.call_after(IDLE_SECONDS, lambda: self._retire(process))
        known = isinstance(answer, Explanation | TriptychError)
        wanted.answer(answer if known else internal_error(answer))
        if isinstance(answer, Explanation):
            await self._rest(answer.total_us / 1e6)

    async def _rest(self, worked_seconds: float) -> None:
        """However low its priority, who works takes caches and wake-ups from those who classify. So
        a process does for a small share of the time only, while there are any."""
        left = worked_seconds * (1 / self._share - 1)
        end = time.monotonic() + left
        while left > 0 and (quiet := self._engine.idle_seconds) < QUIET_SECONDS:
            await asyncio.sleep(min(left, QUIET_SECONDS - quiet))
            left = end - time.monotonic()

    def _retire(self, process: SideProcess) -> None:
        self._idle.remove(process)
        self._end(process)

    def _end(self, process: SideProcess) -> None:
        self._spawn(self._ending, process.end())

    @staticmethod
    def _spawn(
        tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task


def _require_endpoint(handle: Handle) -> None:
    if EXPLAIN not in handle.loaded.servable.own_endpoints:
        raise NotExplainable(
            f"model {handle.name!r} version {handle.version} has no endpoint {EXPLAIN!r}: export "
            "it with that, by `triptych export --explain`"
        )


def _class_id(model: str, labels: Sequence[str], wanted: str | int | None) -> int:
    """Raises: InvalidInput, with the classes that there are."""
    if wanted is None:
        return BEST_CLASS
    if isinstance(wanted, int):
        if 0 <= wanted < len(labels):
            return wanted
        raise InvalidInput(
            f"class_id is {wanted}: those of model {model!r} are from 0 to {len(labels) - 1}"
        )
    if wanted in labels:
        return list(labels).index(wanted)
    more = len(labels) - MOST_LISTED
    listed = ", ".join(labels[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
    raise InvalidInput(f"model {model!r} has no class {wanted[:100]!r}. It has {listed}")
