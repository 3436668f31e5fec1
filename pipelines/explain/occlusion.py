"""By how much the class's logit falls when a part of the input is taken away."""

from itertools import product

import numpy as np
import numpy.typing as npt

from pipelines.explain.explanation import Explanation
from pipelines.explain.gradients import logits
from pipelines.explain.network import Network

PARTS = 8  # a window is this part of a picture's or spectrogram's side; of a text, one token


def occlusion(
    network: Network,
    example: npt.NDArray,
    class_id: int,
    window: tuple[int, ...] | None = None,
    stride: tuple[int, ...] | None = None,
) -> Explanation:
    """A window of 0 (the mean of each colour or band, or no word) moves over the input.

    A position has the mean of what the windows that cover it take away. On a linear network with
    windows that don't overlap that is exactly the window's w x.

    Args:    window, stride: positions along each axis; by default an eighth of each side, a half of
             which is the stride; of a text, one token.
    Source:  Zeiler & Fergus 2014, section 4.2, arXiv 1311.2901; averaged as Captum does it.
    Differs: the window is 0 where the paper has grey.
    """
    x = network.embed(example[None]).numpy()[0]
    sides = example.shape[: 1 if network.domain == "text" else 2]
    if window is None:
        window = (1,) if network.domain == "text" else tuple(max(1, n // PARTS) for n in sides)
    stride = stride or tuple(max(1, n // 2) for n in window)
    places = [
        _places(side, min(size, side), step)
        for side, size, step in zip(sides, window, stride, strict=True)
    ]
    masks = np.zeros((np.prod([len(p) for p in places]), *sides), bool)
    for mask, parts in zip(masks, product(*places), strict=True):
        mask[parts] = True

    whole = logits(network, x[None], example, class_id)
    channels = (1,) * (x.ndim - len(sides))
    falls = [
        whole
        - logits(network, np.where(part.reshape(*part.shape, *channels), 0, x), example, class_id)
        for part in np.array_split(masks, max(1, len(masks) // 64))
    ]
    fall = np.concatenate(falls)
    values = np.tensordot(fall, masks, axes=1) / masks.sum(axis=0)
    return Explanation.of(network, example, class_id, "occlusion", values)


def _places(side: int, window: int, stride: int) -> list[slice]:
    """The last window ends where the side does, so that all of it is covered."""
    starts = [*range(0, side - window, stride), side - window]
    return [slice(start, start + window) for start in starts]
