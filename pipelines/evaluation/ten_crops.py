"""Ten views of a picture in place of one, and the mean of their scores."""

import io
from itertools import product

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipelines.batch.predictor import TablePredictor
from serving.errors import InvalidInput

SHARE = 224 / 256  # of a side, that a crop has: AlexNet's crops of its pictures

Picture = npt.NDArray[np.uint8]  # [H, W, 3]


def ten_crops(picture: Picture, height: int, width: int) -> list[Picture]:
    """Corners and centre, and their mirror images, of the centre of shape `height` to `width`.

    Source:  Krizhevsky 2012, section 4.1.
    Differs: crops have their share of the picture's own pixels, not of one scaled to 256.
    """
    scale = min(picture.shape[0] / height, picture.shape[1] / width)
    inner = _part(picture, round(height * scale), round(width * scale), 1, 1)
    tall, wide = (max(1, round(SHARE * side)) for side in inner.shape[:2])
    places = [*product((0, 2), repeat=2), (1, 1)]
    crops = [_part(inner, tall, wide, down, right) for down, right in places]
    return crops + [crop[:, ::-1] for crop in crops]


def _part(picture: Picture, height: int, width: int, down: int, right: int) -> Picture:
    """Of this size, at least a pixel; `down`, `right`: halves of the way to the other edge."""
    height, width = max(1, height), max(1, width)
    top, left = (picture.shape[0] - height) * down // 2, (picture.shape[1] - width) * right // 2
    return picture[top : top + height, left : left + width]


class TenCrops:
    """A predictor of pictures, of all scores and one row an input, that looks ten times at each.

    Out: `all_scores`, their mean, and `error`.
    """

    def __init__(self, predictor: TablePredictor) -> None:
        self._predictor = predictor

    def __call__(self, table: pa.Table) -> pa.Table:
        # One picture at a time: ten large ones are as much as should be in memory.
        rows = [self._row(table.slice(i, 1)) for i in range(table.num_rows)]
        return pa.concat_tables(rows)

    def _row(self, given: pa.Table) -> pa.Table:
        answers = self._predictor(self._crops(given)).select(["all_scores", "error"])
        errors = answers["error"].drop_null()
        if len(errors):
            return answers.slice(answers["error"].to_pylist().index(errors[0].as_py()), 1)
        scores = np.array(answers["all_scores"].to_pylist(), np.float32).mean(axis=0)
        return pa.table({"all_scores": [scores], "error": [None]}, answers.schema)

    def _crops(self, given: pa.Table) -> pa.Table:
        """As it came, where it is no picture: the predictor says why."""
        data = given["data"][0].as_py()
        if data is None:
            return given
        try:
            picture = self._predictor.decode(data)
        except InvalidInput:
            return given
        size = self._predictor.manifest.input.image
        files = [_encoded(crop) for crop in ten_crops(picture, size.height, size.width)]
        return pa.table({"input": given["input"].to_pylist() * len(files), "data": files})


def _encoded(picture: Picture) -> bytes:
    """Without loss, and about as large as a file of the picture was: within its limits."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()
