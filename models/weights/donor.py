"""Whose weights fit which network, and what else they need to mean what they meant there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from models.weights.carry import Table

# What was done to a picture before their network saw it, as ImagePreprocessing takes it.
CAFFE = {
    "mean": [value / 255 for value in (103.939, 116.779, 123.68)],
    "standard_deviation": [1 / 255] * 3,
    "channel_order": "bgr",
}
SYMMETRIC = {"mean": [0.5] * 3, "standard_deviation": [0.5] * 3}  # -1 to 1
TORCH = {"mean": [0.485, 0.456, 0.406], "standard_deviation": [0.229, 0.224, 0.225]}


class Donor(NamedTuple):
    table: Callable[[keras.Model], Table]
    preprocessing: Mapping[str, Any]
    size: int = 224  # pixels of the square input
    options: Mapping[str, Any] = {}  # of our network, to be built as theirs
    labels: str = "imagenet"  # the set that the published weights tell apart
    application: str = ""  # keras.applications: its name there
    classifier: str = ""  # PyTorch: the layer that gives the logits
    flattened: Mapping[str, int] = {}  # PyTorch: dense layer after a square map -> its channels


def stages(blocks: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Our path of each block, its stage, and its number in there, both from 0."""
    places = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
    for number, (stage, block) in enumerate(places):
        yield f"stages.{number}", stage, block


def pair(ours: str, conv: str, norm: str) -> dict[str, str]:
    """The rows of a ConvNorm."""
    return {f"{ours}.conv": conv, f"{ours}.norm": norm}
