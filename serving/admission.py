"""How much is taken in before it is decoded: of a model in all, and of one call at a time.

What is decoded, and waits for a batch, `serving.batch_queue` counts. asyncio, one loop.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from serving.errors import QueueFull
from serving.manager import Handle


class Admission:
    """A call is taken whole, or not at all; one alone whatever its size."""

    def __init__(self) -> None:
        self._in_progress: Counter[str] = Counter()  # inputs, by model

    def in_progress(self, handle: Handle) -> int:
        """Inputs of its model."""
        return self._in_progress[handle.name]

    @contextmanager
    def admit(self, handle: Handle, inputs: int) -> Iterator[None]:
        """Raises: QueueFull if as many are in progress as the model's queue may hold."""
        model, most = handle.name, handle.loaded.batcher.batching.max_queue_size
        before = self._in_progress[model]
        if before and before + inputs > most:
            raise QueueFull(
                f"{before} inputs of model {model!r} are in progress, and with {inputs} more it "
                f"were over {most}: send them later, or raise max_queue_size of [batching] in "
                f"{model}/model.toml, or TRIPTYCH_MAX_QUEUE_SIZE where that has none"
            )
        self._in_progress[model] += inputs
        try:
            yield
        finally:
            self._in_progress[model] -= inputs
            if not self._in_progress[model]:
                del self._in_progress[model]


class Room(NamedTuple):
    """For the inputs of one call. It leaves some to those of others, and to its own later ones.

    decoding: at once.
    waiting:  for a batch, or on the way there: no more than the model's queue takes.
    """

    decoding: asyncio.Semaphore
    waiting: asyncio.Semaphore

    @classmethod
    def of(cls, handle: Handle, decoding: int) -> Self:
        most = handle.loaded.batcher.batching.max_queue_size
        return cls(asyncio.Semaphore(decoding), asyncio.Semaphore(most))
