"""The `classification` extension: an output as its best classes, each "value:index:label"."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput
from serving.protocols.open_inference_tensors import datatype_of
from serving.runtime.endpoint import STRING

MAX_CLASSES = 1_000_000  # of a row, as in Triton


def classified(
    values: npt.NDArray[Any], labels: Sequence[str], most: int, *, batched: bool
) -> npt.NDArray[Any]:
    """[B, ...] -> [B, k] strings; without a batch, [...] -> [k]. Of equals, the lower index first.

    Args:   labels: left out where their number is another than that of the classes.
            most: k, where there are as many.
    Raises: InvalidInput if `values` cannot be compared, or are too many.
    """
    if values.dtype.kind not in "iuf" or (values.dtype.itemsize == 2 and values.dtype.kind == "f"):
        raise InvalidInput(
            "class result not available for output due to unsupported type "
            f"'{datatype_of(values.dtype)}'"
        )
    rows = values.reshape(len(values), -1) if batched else values.reshape(1, -1)
    if rows.shape[1] > MAX_CLASSES:
        raise InvalidInput("classification output tensor too large")
    most = min(most, rows.shape[1])
    known = labels if len(labels) == rows.shape[1] else ()
    form = "{:f}:{}" if values.dtype.kind == "f" else "{}:{}"
    texts = np.empty((len(rows), most), STRING)
    for row, scores in enumerate(rows):
        for place, index in enumerate(_best(scores, most)):
            text = form.format(scores[index], index)
            texts[row, place] = (f"{text}:{known[index]}" if known else text).encode()
    return texts if batched else texts[0]


def _best(scores: npt.NDArray[Any], most: int) -> npt.NDArray[np.intp]:
    """Indices, the best first; what is no number comes last."""
    keys = -scores if scores.dtype.kind == "f" else ~scores  # both reverse the order
    if most < len(scores):
        least = np.partition(keys, most - 1)[most - 1]
        candidates = np.flatnonzero(~(keys > least))
    else:
        candidates = np.arange(len(scores))
    order: npt.NDArray[np.intp] = candidates[np.argsort(keys[candidates], kind="stable")][:most]
    return order
