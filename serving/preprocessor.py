"""Encoded inputs to examples, in worker threads: each takes as many in one go as came meanwhile.

A hop to a thread and back costs as much as decoding a small picture, so under load many share one;
where all lanes compute, small ones wait for each other. A lone input waits for nobody. How many one
call may have here is `serving.admission`'s matter.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from serving.batch import for_a_future
from serving.runtime.affinity import join, spread
from serving.runtime.servable import Servable

MOST_AT_ONCE = 8  # inputs in one go: later ones of other calls wait for all of them
# Of a processor, for an input. Below, most of it is Python, where a second thread only contends for
# the interpreter.
WORTH_A_THREAD_SECONDS = 0.001
GATHER_SECONDS = 0.002  # that a small one waits for others

Example = npt.NDArray[Any]


class _Wanted:
    __slots__ = ("future", "item", "servable")

    def __init__(
        self, servable: Servable, item: bytes | str, future: asyncio.Future[Example]
    ) -> None:
        self.servable = servable
        self.item = item
        self.future = future


class Preprocessor:
    """asyncio, one loop.

    Args: workers: that the inputs share with others; threads: of them, that may work here.
    most_at_once: inputs in all threads.
    """

    def __init__(self, workers: ThreadPoolExecutor, threads: int) -> None:
        self._workers = workers
        self._threads = threads
        self.most_at_once = threads * MOST_AT_ONCE
        self._waiting: deque[_Wanted] = deque()
        self._working = 0
        self._gathering: asyncio.TimerHandle | None = None
        # Of a processor, for each of a model's last inputs.
        self._seconds: WeakKeyDictionary[Servable, float] = WeakKeyDictionary()

    async def example(self, servable: Servable, item: bytes | str, company: int = 1) -> Example:
        """With batch axis. company: inputs worth waiting for, this one among them.

        Raises: InvalidInput if it cannot be read.
        """
        loop = asyncio.get_running_loop()
        wanted = _Wanted(servable, item, loop.create_future())
        self._waiting.append(wanted)
        enough = len(self._waiting) >= min(company, MOST_AT_ONCE)
        if enough or not self._is_small(servable):
            self._begin(loop)
        elif self._gathering is None:
            self._gathering = loop.call_later(GATHER_SECONDS, self._begin, loop)
        return await wanted.future

    def _is_small(self, servable: Servable) -> bool:
        return self._seconds.get(servable, math.inf) <= WORTH_A_THREAD_SECONDS

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        while self._waiting:
            threads = 1 if self._is_small(self._waiting[0].servable) else self._threads
            if self._working >= threads:
                break
            fair = math.ceil(len(self._waiting) / threads)
            some = [self._waiting.popleft() for _ in range(min(fair, MOST_AT_ONCE))]
            self._working += 1
            try:
                self._workers.submit(self._work, loop, some)
            except RuntimeError as error:  # the server ends, or not one thread can be started
                self._ended(loop, some, [error] * len(some), math.inf)

    def _work(self, loop: asyncio.AbstractEventLoop, some: list[_Wanted]) -> None:
        """In a thread, each in one go, so that few decoded inputs are in memory at once."""
        if self._is_small(some[0].servable):  # mostly Python, and one thread's
            join()
        else:
            spread()
        began = time.thread_time()
        examples = [_example(wanted) for wanted in some]
        seconds = (time.thread_time() - began) / len(some)
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(self._ended, loop, some, examples, seconds)

    def _ended(
        self,
        loop: asyncio.AbstractEventLoop,
        some: list[_Wanted],
        examples: Sequence[Example | Exception | None],
        seconds: float,
    ) -> None:
        self._working -= 1
        for servable in {wanted.servable for wanted in some}:
            self._seconds[servable] = seconds
        if self._gathering is None:
            self._begin(loop)
        for wanted, example in zip(some, examples, strict=True):
            if example is None or wanted.future.done():  # its caller has left
                continue
            if isinstance(example, Exception):
                wanted.future.set_exception(example)
            else:
                wanted.future.set_result(example)


def _example(wanted: _Wanted) -> Example | Exception | None:
    """None where nobody waits any more."""
    if wanted.future.done():
        return None
    servable = wanted.servable
    try:
        return servable.preprocess(servable.decode(wanted.item))[np.newaxis]
    except BaseException as raised:
        return for_a_future(raised)
