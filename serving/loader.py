"""Loads versions one at a time, as that takes the processors: by the settings, and aside.

What can be is prepared by a process (`serving.preparer`), and the rest done in a thread that gives
way to those who answer. asyncio, one loop.
"""

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from serving.batch_scheduler import Batching
from serving.model_config import ModelConfig
from serving.preparer import Preparer
from serving.repository import VersionFolder
from serving.runtime import garbage
from serving.runtime.affinity import give_way_anywhere
from serving.runtime.cache import Cache
from serving.runtime.opening import Wish
from serving.runtime.priority import stand_back
from serving.runtime.saved_model import limit_tensorflow
from serving.runtime.servable import Servable
from serving.settings import Settings

T = TypeVar("T")


class Loaded(NamedTuple):
    servable: Servable
    batching: Batching


class Loader:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache = Cache(settings.cache)
        self._preparer = Preparer(self._cache)
        self._thread = ThreadPoolExecutor(1, "load", initializer=give_way_anywhere)
        self._nice = 0
        self._libraries_aside = False
        self._has_opened = False

    async def load(self, folder: VersionFolder) -> Loaded:
        """Raises: BadVersion."""
        run = asyncio.get_running_loop().run_in_executor
        wish = self._wish(folder.config)
        await asyncio.gather(
            run(self._thread, self._import_libraries),
            self._preparer.prepare(folder.path, wish, self._nice),
        )
        return await run(self._thread, self._open, folder, wish)

    def give_way(self) -> None:
        """From now on, as there is someone to be served."""
        self._nice = self._settings.prepare_nice
        self._preparer.retire()

    async def close(self) -> None:
        await self._preparer.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _import_libraries(self) -> None:
        """Which takes seconds."""
        if not self._libraries_aside:
            limit_tensorflow(self._settings.threads)
            import serving.runtime.executors.openvino  # noqa: F401

            garbage.set_aside()
            self._libraries_aside = True

    def _open(self, folder: VersionFolder, wish: Wish) -> Loaded:
        # The first makes the libraries' own threads, which inherit its priority and compute for
        # callers later.
        if self._has_opened:
            stand_back()
        self._has_opened = True
        limits = folder.config.limits_over(self._settings.limits)
        try:
            servable = Servable.load(folder.path, limits=limits, wish=wish, cache=self._cache)
            try:
                servable.check_golden()
                batching = self._batching(servable, folder.config)
                servable.warm_up(sorted({1, *batching.sizes}))
            except BaseException:
                servable.close()
                raise
        finally:
            garbage.give_back()
        return Loaded(servable, batching)

    def _wish(self, config: ModelConfig) -> Wish:
        settings = self._settings
        return Wish(
            executor=config.executor or settings.executor,
            precision=config.precision or settings.precision,
            threads=settings.threads,
            max_batch_size=_either(config.batching.max_batch_size, settings.max_batch_size),
            seconds=settings.measure_seconds,
        )

    def _batching(self, servable: Servable, config: ModelConfig) -> Batching:
        """The model's own settings, then the server's; the batch size, where none is set, is the
        best that was measured."""
        own, settings = config.batching, self._settings
        best = min(servable.best_batch_size, settings.max_batch_size)
        timeout_us = _either(own.batch_timeout_us, settings.batch_timeout_us)
        queue_timeout_ms = _either(own.queue_timeout_ms, settings.queue_timeout_ms)
        return Batching(
            max_batch_size=_either(own.max_batch_size, best),
            batch_timeout_seconds=timeout_us / 1e6,
            max_queue_size=_either(own.max_queue_size, settings.max_queue_size),
            queue_timeout_seconds=queue_timeout_ms / 1e3 or math.inf,
            allowed_batch_sizes=own.allowed_batch_sizes or (),
        )


def _either(own: T | None, default: T) -> T:
    return default if own is None else own
