"""A picture's windows and their scores as a picture: where the network sees what it sees.

Drawn is the label whose mean over all windows is the highest: in grey the picture, over it, from
dark (0) to yellow (1), what the windows that have a pixel give the label, as a mean.
"""

import hashlib
import io
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from pipelines.batch.errors import BatchError
from pipelines.batch.shards import folder_of
from serving.runtime.decoding import Limits, decode_image
from serving.runtime.pictures import coloured

OPACITY = 0.5
CAPTION_PIXELS = 20
MOST_NAME_BYTES = 200  # file systems allow 255
NOT_IN_NAMES = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]')


class HeatMaps:
    """PNG files in a folder, each there whole or not at all.

    Args:   folder: a path or URL.
    Raises: BatchError if it cannot be written to.
    """

    def __init__(self, folder: str, labels: Sequence[str], limits: Limits) -> None:
        self._given = folder
        self._labels = labels
        self._limits = limits
        self._folder = folder_of(folder)
        try:
            self._folder.make()
        except OSError as error:
            raise self._refused(error) from error

    def write(
        self,
        name: str,
        data: bytes,
        boxes: npt.NDArray[np.int32],
        scores: npt.NDArray[np.float32],
    ) -> None:
        """
        Args: name: the input's; boxes: [N, 4], top, left, bottom, right; scores: [N, K].
        """
        drawn = draw(decode_image(data, self._limits), boxes, scores, self._labels)
        try:
            self._folder.write(file_name(name), drawn)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> BatchError:
        return BatchError(
            f"{self._given} cannot be written ({error.strerror or error}): mend that, or give "
            "another --heat-maps"
        )


def file_name(name: str) -> str:
    """Of one input, in the folder and nowhere else: what cannot be in a name is %XX, as in URLs."""
    safe = NOT_IN_NAMES.sub(lambda found: f"%{ord(found[0]):02X}", name)
    encoded = safe.encode(errors="backslashreplace")
    if len(encoded) > MOST_NAME_BYTES:
        digest = hashlib.sha256(encoded).hexdigest()[:16]
        safe = f"{digest}-{encoded[-MOST_NAME_BYTES + 17 :].decode(errors='ignore')}"
    return f"{safe}.png"


def draw(
    pixels: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    labels: Sequence[str],
) -> bytes:
    """PNG. Returns: as large as the picture, and a caption below."""
    means = scores.mean(axis=0, dtype=np.float64)
    best = int(means.argmax())
    heat = spread(pixels.shape[:2], boxes, scores[:, best])
    grey = np.asarray(Image.fromarray(pixels).convert("L"), float)[..., np.newaxis]
    seen = ~np.isnan(heat)[..., np.newaxis]
    mixed = np.where(seen, (1 - OPACITY) * grey + OPACITY * coloured(np.nan_to_num(heat)), grey)
    text = f"{labels[best]}: mean {means[best]:.2f}, most {scores[:, best].max():.2f}"
    height, width = heat.shape
    image = Image.new("RGB", (width, height + CAPTION_PIXELS))
    image.paste(Image.fromarray(mixed.round().astype(np.uint8)))
    shown = text.encode("latin-1", "replace").decode("latin-1")  # what its font has
    ImageDraw.Draw(image).text((4, height + 3), shown, "white", ImageFont.load_default(12))
    about = PngInfo()
    about.add_itxt("Description", text)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=about)
    return file.getvalue()


def spread(
    size: tuple[int, ...], boxes: npt.NDArray[np.int32], values: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """[H, W]: the mean of the values of the boxes that a pixel is in; NaN where there is none."""
    # Each box at its corners alone; sums from the top left on then fill it.
    corners = np.zeros((2, size[0] + 1, size[1] + 1))
    top, left, bottom, right = boxes.T
    for rows, columns, sign in (
        (top, left, 1),
        (top, right, -1),
        (bottom, left, -1),
        (bottom, right, 1),
    ):
        np.add.at(corners[0], (rows, columns), sign * values.astype(np.float64))
        np.add.at(corners[1], (rows, columns), sign)
    total, number = corners.cumsum(axis=1).cumsum(axis=2)[:, :-1, :-1]
    number = number.round()
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
