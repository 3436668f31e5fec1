"""Prepares new versions in a process of its own, so that others are served meanwhile.

What is done there would hold the interpreter's lock of this one for tenths of a second
(`serving.runtime.prepared`), and its memory for good. asyncio, one loop, one version at a time.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from serving.errors import BadVersion, TriptychError
from serving.prepare_worker import Job
from serving.runtime import prepared
from serving.runtime.cache import Cache
from serving.runtime.manifest import MANIFEST, artefact_digest, read_manifest
from serving.runtime.opening import Wish, recall
from serving.side_process import Lost, SideProcess

logger = logging.getLogger(__name__)

WORKER = "serving.prepare_worker"
LOOK_AGAIN_SECONDS = 0.2
IDLE_SECONDS = 60.0  # after which its memory is given back, and TensorFlow to be imported again


class Preparer:
    """Args: cache: by which versions come; where it keeps nothing, none is prepared."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._process: SideProcess | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def prepare(self, version: Path, wish: Wish, nice: int) -> None:
        """Nothing, where that was done before, or is no use.

        Args:   nice: the priority; 19 is the lowest.
        Raises: BadVersion.
        """
        try:
            while (digest := await asyncio.to_thread(self._wanted, version, wish)) is not None:
                claim = self._cache.claim(digest)
                if claim is None:
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)  # another server is at it
                    continue
                with claim:
                    # Unless another one has done it since we looked.
                    if await asyncio.to_thread(self._wanted, version, wish) is not None:
                        await self._ask(version, wish, nice)
                return
        except OSError as error:
            logger.warning("%s is prepared here, and holds others up: %s", version, error)

    async def _ask(self, version: Path, wish: Wish, nice: int) -> None:
        assert self._cache.folder is not None
        if self._process is not None and self._process.nice != nice:
            self.retire()
        process, self._process = self._process or SideProcess(WORKER, nice), None
        try:
            answer = await process.ask(Job(version, wish, self._cache.folder))
        except BaseException as error:
            await process.kill()
            if isinstance(error, Lost):
                raise BadVersion(
                    f"{error} while it prepared it, and may have wanted more memory than there is: "
                    "give the server more, or publish a smaller model"
                ) from error
            raise
        self._process = process
        process.call_after(IDLE_SECONDS, self.retire)
        if isinstance(answer, TriptychError):
            raise answer
        if isinstance(answer, Exception):
            logger.error("%s: an error that no one foresaw: %s", version, answer)

    async def close(self) -> None:
        self.retire()
        await asyncio.gather(*self._ending)

    def retire(self) -> None:
        """The process, if it is idle: the next version will have another one."""
        if self._process is not None:
            task = asyncio.create_task(self._process.end())
            self._process = None
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _wanted(self, version: Path, wish: Wish) -> str | None:
        """The digest of a version to be prepared: not one that is, nor a foreign one, and of what
        TensorFlow computes there is nothing to prepare."""
        if self._cache.folder is None or not (version / MANIFEST).exists():
            return None
        with suppress(BadVersion):  # whoever loads it tells
            digest = artefact_digest(read_manifest(version))
            report = recall(digest, "predict", wish, self._cache)
            if report is None:
                return digest
            if report.executor != "tensorflow" and not prepared.is_kept(digest, self._cache):
                return digest
        return None
