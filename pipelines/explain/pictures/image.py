"""A picture as the network saw it, and beside it, over the picture in grey, what counts."""

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network
from pipelines.explain.pictures.colours import legend, png, scale, strength, title

LUMA = (0.299, 0.587, 0.114)
DENSEST = 0.9  # of the map over the picture: its edges stay visible


def draw(network: Network, example: npt.NDArray, explanation: Explanation) -> bytes:
    """PNG of some 700 x 360 pixels; a small picture is enlarged pixel by pixel."""
    picture = network.inputs.picture(example)
    figure = Figure(figsize=(7.0, 3.55), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    height, width = picture.shape[:2]
    figure.suptitle(title(explanation), size=11)
    for axes in (left, right):
        axes.set_axis_off()
    left.imshow(picture, interpolation="nearest")
    left.set_title(f"what the network saw, {width} x {height} pixels", size=9)
    right.imshow(overlay(picture, explanation), interpolation="nearest")
    right.set_title("what speaks for it" + (" and against" if explanation.signed else ""), size=9)
    legend(figure, explanation, right, shrink=0.85)
    return png(figure)


def overlay(picture: npt.NDArray[np.uint8], explanation: Explanation) -> npt.NDArray[np.uint8]:
    """The map over the picture in pale grey.  [h, w, 3] -> [h, w, 3]"""
    grey = 0.35 + 0.65 * (picture @ np.array(LUMA)) / 255
    colours = scale(explanation).to_rgba(explanation.values)[..., :3]
    share = DENSEST * strength(explanation)[..., None]
    mixed = (1 - share) * grey[..., None] + share * colours
    return (mixed * 255).round().astype(np.uint8)
