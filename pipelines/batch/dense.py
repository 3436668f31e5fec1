"""Pictures larger than the network, all windows in one pass: by the artefact's endpoint `dense`.

The endpoint takes a picture as `predict` does, only larger, and `preprocess` makes those of the
network's own size alone. But at that size it resizes nothing, so what it makes of the picture's
tiles, put together, is the whole.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.batch.errors import BatchError
from pipelines.batch.schema import BOX, ModelIdentity
from protos.triptych.v1 import manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.decoding import IMAGES, Limits, decode_image

DENSE = "dense"
MOST_PIXELS = 4_000_000  # whose activations, of all layers, are in memory at once

Picture = npt.NDArray[np.float32]


class Artefact(Protocol):
    """A servable, here or at a server."""

    def has(self, endpoint: str) -> bool: ...

    def preprocess(self, decoded: Any) -> npt.NDArray[Any]: ...

    def run(self, endpoint: str, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, Any]: ...


class Dense:
    """Raises: BatchError if the model's artefact has no such endpoint."""

    position = BOX

    def __init__(
        self,
        artefact: Artefact,
        model: ModelIdentity,
        spec: manifest_pb2.InputSpec,
        limits: Limits,
    ):
        if not artefact.has(DENSE):
            raise BatchError(
                f"{model} has no endpoint {DENSE!r}, which scores all windows in one pass: export "
                "it again with --dense, or take --tiles"
            )
        self._artefact = artefact
        self._height, self._width = spec.image.height, spec.image.width
        self._limits = limits

    def picture(self, item: bytes | str) -> Picture:
        """[H, W, C], as large as it came. Raises: InvalidInput."""
        if isinstance(item, str):
            raise InvalidInput(f"this model takes image, and a text was given: give {IMAGES}")
        pixels = decode_image(item, self._limits)
        height, width = pixels.shape[:2]
        if height < self._height or width < self._width:
            raise InvalidInput(
                f"the picture is {width} wide and {height} high, and the network's windows are "
                f"{self._width} and {self._height}: enlarge it, or leave --dense out"
            )
        if height * width > MOST_PIXELS:
            raise InvalidInput(
                f"the picture has {height * width:,} pixels, and one pass may have "
                f"{MOST_PIXELS:,}: make it smaller, or take --tiles"
            )
        whole: Picture | None = None
        for top in starts(height, self._height):
            for left in starts(width, self._width):
                place = slice(top, top + self._height), slice(left, left + self._width)
                tile = self._artefact.preprocess(pixels[place])
                if whole is None:
                    whole = np.empty((height, width, tile.shape[-1]), np.float32)
                whole[place] = tile
        assert whole is not None
        return whole

    def scan(self, picture: Picture) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Boxes [N, 4], as BOX, and scores [N, K], row by row."""
        found = self._artefact.run(DENSE, {"images": picture[np.newaxis]})
        scores = found["scores"][0]
        return found["boxes"].reshape(-1, 4), scores.reshape(-1, scores.shape[-1])


def starts(size: int, step: int) -> list[int]:
    """Of tiles side by side that cover `size`; the last one ends there."""
    if size <= step:
        return [0]
    found = list(range(0, size - step + 1, step))
    return found if found[-1] + step == size else [*found, size - step]
