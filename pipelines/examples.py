"""Raw files and texts -> the examples that a network trains on, all read once."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from rich.progress import track

from pipelines.datasets import Example
from pipelines.preprocessing import Preprocessing
from protos.triptych.v1 import manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.decoding import decode

MEMORY_BYTES = 4 * 2**30  # pictures past this go to a temporary file
FIT_EXAMPLES = 5000  # enough for means of two decimals


class Unreadable(NamedTuple):
    source: str
    reason: str


@dataclass(frozen=True)
class Examples:
    """What could be read, in the order it was given."""

    values: Sequence[np.ndarray]  # [N, h, w, C] in one array, or N arrays of any length
    class_ids: np.ndarray  # int32 [N]
    sources: list[Path | str]

    def __len__(self) -> int:
        return len(self.class_ids)


def decoded(example: Example, spec: manifest_pb2.InputSpec) -> np.ndarray | str:
    """The example as a server would decode it.  Raises InvalidInput."""
    if isinstance(example.source, str):
        return decode(example.source, spec)
    try:
        return decode(example.source.read_bytes(), spec)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}") from error


def fit(preprocessing: Preprocessing, examples: Sequence[Example], seed: int) -> Preprocessing:
    """`preprocessing` with what it takes from (a sample of) the training examples."""
    order = np.random.default_rng(seed).permutation(len(examples))
    if preprocessing.domain != "text":  # a vocabulary needs all of them
        order = order[:FIT_EXAMPLES]

    def readable() -> Iterator[np.ndarray | str]:
        for i in track(np.sort(order), description="Measuring", transient=True):
            try:
                yield decoded(examples[i], preprocessing.spec())
            except InvalidInput:
                continue  # Reader lists it

    return preprocessing.fit(readable())


class Reader:
    """Decodes and preprocesses; what cannot be read is listed, not fatal."""

    def __init__(self, preprocessing: Preprocessing):
        self._spec = preprocessing.spec()
        self._example = preprocessing.example_spec
        self._preprocess = tf.function(preprocessing.preprocess, [preprocessing.decoded_spec])

    def read(
        self, examples: Sequence[Example], title: str, preprocess: bool = True
    ) -> tuple[Examples, list[Unreadable]]:
        """All that can be read.

        Args:    preprocess: False leaves sounds as they were decoded.
        """
        store = _store(len(examples), self._example)
        read_one = self._read_one if preprocess else self._decode_one
        kept: list[int] = []
        unreadable: list[Unreadable] = []
        with ThreadPoolExecutor() as workers:
            values = _map(workers, read_one, examples)
            values = track(values, f"Reading {title}", len(examples), transient=True)
            for i, value in enumerate(values):
                if isinstance(value, Unreadable):
                    unreadable.append(value)
                    continue
                if isinstance(store, list):
                    store.append(value)
                else:
                    store[len(kept)] = value
                kept.append(i)
        class_ids = np.array([examples[i].class_id for i in kept], np.int32)
        sources = [examples[i].source for i in kept]
        return Examples(store[: len(kept)], class_ids, sources), unreadable

    def _read_one(self, example: Example) -> np.ndarray | Unreadable:
        value = self._decode_one(example)
        if isinstance(value, Unreadable):
            return value
        return self._preprocess(tf.constant(value)).numpy()

    def _decode_one(self, example: Example) -> np.ndarray | str | Unreadable:
        try:
            return decoded(example, self._spec)
        except InvalidInput as error:
            return Unreadable(str(example.source), str(error))


def _store(count: int, spec: tf.TensorSpec) -> np.ndarray | list[np.ndarray]:
    if not spec.shape.is_fully_defined():
        return []
    shape, dtype = (count, *spec.shape), spec.dtype.as_numpy_dtype
    if count * spec.shape.num_elements() * spec.dtype.size <= MEMORY_BYTES:
        return np.empty(shape, dtype)
    # The file has no name any more, and goes with the process.
    return np.memmap(tempfile.TemporaryFile(), dtype, "w+", shape=shape)


def _map(
    workers: ThreadPoolExecutor, function: Callable, items: Sequence, ahead: int = 64
) -> Iterator:
    """`workers.map`, in order, with at most `ahead` results waiting."""
    pending = []
    for item in items:
        pending.append(workers.submit(function, item))
        if len(pending) > ahead:
            yield pending.pop(0).result()
    for future in pending:
        yield future.result()
