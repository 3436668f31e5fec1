"""The pictures of an evaluation, by matplotlib: reliability diagram, confusion matrix."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pipelines.evaluation.calibration import Calibration

INK = "#010203"  # becomes the page's own colour, dark or light
BARS, SCALED = "#4c8bd0", "#e07b39"
READABLE = 60  # classes whose names fit beside a picture
COUNTED = 20  # and whose counts fit into it


def reliability_diagram(calibration: "Calibration") -> str:
    """As SVG: accuracy over confidence, with and without the temperature; examples in each bin."""
    with _ink():
        figure = Figure(figsize=(5.2, 4.9), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        bins = calibration.before.bins
        left, width = [b.lowest for b in bins], 1 / len(bins)
        heights = [b.accuracy or 0.0 for b in bins]
        above.bar(left, heights, width, align="edge", color=BARS, edgecolor=INK, linewidth=0.6)
        above.plot([0, 1], [0, 1], "--", color=INK, linewidth=1)
        above.plot([], [], "s", color=BARS, label="as it is")
        if calibration.after:
            filled = [b for b in calibration.after.bins if b.examples]
            largest = max(b.examples for b in filled)
            above.scatter(
                [b.confidence for b in filled],
                [b.accuracy for b in filled],
                [10 + 60 * (b.examples / largest) ** 0.5 for b in filled],
                SCALED,
                edgecolor=INK,
                linewidth=0.5,
                zorder=3,
                label=f"at temperature {calibration.temperature:.2f}",
            )
        above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        above.legend(frameon=False, loc="upper left")
        counts = [b.examples for b in bins]
        below.bar(left, counts, width, align="edge", color=BARS, edgecolor=INK, linewidth=0.6)
        below.set(xlabel="confidence: the score of what was answered", ylabel="examples")
        below.yaxis.set_major_formatter("{x:,.0f}")
        return _svg(figure)


def confusion_picture(counts: npt.NDArray[np.integer], labels: Sequence[str], title: str) -> bytes:
    """As PNG: each row's share, with the counts up to COUNTED classes."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(4.0 + 0.45 * len(labels), 24.0)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set(xlabel="answered", ylabel="true", title=title)
    if len(labels) <= READABLE:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, size=8)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _ink():
    colours = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    sides = {"axes.spines.top": False, "axes.spines.right": False}
    return rc_context({"svg.fonttype": "none", **dict.fromkeys(colours, INK), **sides})


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # no addresses in it
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")
