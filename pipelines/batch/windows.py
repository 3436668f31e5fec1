"""Inputs that are longer or larger than what a network sees at once: which parts of them are rows.

Sounds by windows of time, pictures by tiles, texts as text_windows.py says; each part is then
decoded input like any other. And events: neighbouring windows with one answer, put together. All
windows of a picture at once are dense.py's.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soxr

from pipelines.batch.dense import starts
from pipelines.batch.errors import BatchError
from pipelines.batch.options import Rows
from pipelines.batch.schema import BOX, ModelIdentity, Row
from pipelines.batch.text_windows import TextWindows
from protos.triptych.v1 import manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.decoding import (
    IMAGES,
    SOUNDS,
    Limits,
    decode_image,
    mean_of_channels,
    opened_sound,
)
from serving.runtime.servable import Decoded

BLOCK_SECONDS = 10.0  # of a recording that are decoded at once
TIMES = (pa.field("start_seconds", pa.float64()), pa.field("end_seconds", pa.float64()))

Part = tuple[Decoded, tuple[float, ...]]  # and the values of the position's columns


class Parts(Protocol):
    """position: the columns that say which part a row is of."""

    position: tuple[pa.Field, ...]

    def cut(self, item: bytes | str) -> Iterator[Part]:
        """One part after the other, so that not all are in memory. Raises: InvalidInput."""


class SoundWindows:
    """Windows of one length, all of them full; the last ends where the sound does.

    A sound that is shorter than one window is one row, as long as it is.
    """

    position = TIMES

    def __init__(self, window_seconds: float, hop_seconds: float, rate: int, limits: Limits):
        self._window = round(window_seconds * rate)
        self._hop = round(hop_seconds * rate)
        self._rate = rate
        self._limits = limits
        if not 1 <= self._hop <= self._window:
            raise BatchError(
                f"a hop of {hop_seconds:g} s does not fit windows of {window_seconds:g} s: take "
                "one that is no longer, or what is between the windows would not be heard"
            )

    def cut(self, item: bytes | str) -> Iterator[Part]:
        if isinstance(item, str):
            raise InvalidInput(f"this model takes audio, and a text was given: give {SOUNDS}")
        kept = np.empty(0, np.float32)  # from `first` on; the last window's start is in it
        first = start = 0
        for block in self._blocks(item):
            kept = np.concatenate([kept, block])
            while start + self._window <= first + len(kept):
                yield self._part(kept, first, start)
                start += self._hop
            keep = max(first, start - self._hop)
            kept, first = kept[keep - first :], keep
        end = first + len(kept)
        if not start:
            if not end:
                raise InvalidInput("the sound is empty: it has no samples; record it again")
            yield kept, (0.0, end / self._rate)
        elif start - self._hop + self._window < end:
            yield self._part(kept, first, end - self._window)

    def _part(self, kept: npt.NDArray[np.float32], first: int, start: int) -> Part:
        end = start + self._window
        return kept[start - first : end - first], (start / self._rate, end / self._rate)

    def _blocks(self, data: bytes) -> Iterator[npt.NDArray[np.float32]]:
        """Mono, at the model's rate."""
        with opened_sound(data, self._limits) as file:
            resampler = None
            if file.samplerate != self._rate:
                resampler = soxr.ResampleStream(
                    file.samplerate, self._rate, 1, dtype="float32", quality="HQ"
                )
            frames = round(BLOCK_SECONDS * file.samplerate)
            while len(samples := file.read(frames, dtype="float32", always_2d=True)):
                block = mean_of_channels(samples)
                yield block if resampler is None else resampler.resample_chunk(block)
            if resampler is not None:
                yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


class Tiles:
    """Tiles of the network's own size, side by side; the last ones end where the picture does.

    A side that is no longer than the network's is one tile, as long as it is.
    """

    position = BOX

    def __init__(self, height: int, width: int, limits: Limits):
        self._height, self._width = height, width
        self._limits = limits

    def cut(self, item: bytes | str) -> Iterator[Part]:
        if isinstance(item, str):
            raise InvalidInput(f"this model takes image, and a text was given: give {IMAGES}")
        image = decode_image(item, self._limits)
        rows = starts(image.shape[0], self._height)
        columns = starts(image.shape[1], self._width)
        for top, left in itertools.product(rows, columns):
            tile = image[top : top + self._height, left : left + self._width]
            yield tile, (top, left, top + tile.shape[0], left + tile.shape[1])


def parts_of(
    model: ModelIdentity,
    spec: manifest_pb2.InputSpec,
    limits: Limits,
    rows: Rows,
    preprocess: Callable[[str], npt.NDArray[np.int32]],
) -> Parts | None:
    """None: each input is one row.

    Args:   preprocess: the artefact's.
    Raises: BatchError if the model takes no such parts.
    """
    if (rows.tiles or rows.dense) and model.domain != "image":
        raise BatchError(f"tiles are for pictures, and {model} takes {model.domain}")
    if rows.window is not None:
        hop = rows.window if rows.hop is None else rows.hop
        if model.domain == "audio":
            return SoundWindows(rows.window, hop, spec.audio.sample_rate_hz, limits)
        if model.domain == "text":
            return TextWindows(rows.window, hop, spec.text.max_tokens, preprocess, limits)
        raise BatchError(f"windows are for sounds and texts, and {model} takes {model.domain}")
    if rows.hop is not None:
        raise BatchError("a hop is that of windows: give their length too (--window)")
    if rows.with_events:
        raise BatchError("events are put together from windows: give their length (--window)")
    return Tiles(spec.image.height, spec.image.width, limits) if rows.tiles else None


Scored = tuple[Row, npt.NDArray[np.float32] | None]  # a part, and the scores of all classes


def events(parts: Iterable[Scored]) -> Iterator[Scored]:
    """Windows of one sound, in order -> neighbours of the same best class as one: from the first's
    start to the last's end, with the mean of their scores.
    """

    def best(part: Scored) -> int:
        return -1 if part[1] is None else int(np.argmax(part[1]))

    for class_id, group in itertools.groupby(parts, best):
        together = list(group)
        if class_id < 0 or len(together) == 1:
            yield from together
            continue
        first, last = together[0][0], together[-1][0]
        mean = np.mean([scores for _, scores in together], axis=0, dtype=np.float64)
        position = (first.position[0], last.position[1])
        yield Row(first.input, position), mean.astype(np.float32)
