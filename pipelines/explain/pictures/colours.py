"""What the colours of a map mean, the same in all domains, and readable without red and green."""

import io
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from pipelines.explain.explanation import Explanation
from pipelines.explain.pictures.glyphs import in_glyphs

SIGNED = matplotlib.colormaps["RdBu_r"]  # against the class: blue; for it: red
RISING = ListedColormap(SIGNED(np.linspace(0.5, 1, 128)))  # evidence for it alone
LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")  # of Okabe and Ito's
TITLE = 80  # letters that a line of 700 pixels has room for
BRIGHTEST = 99.5  # percentile of the values that has the last colour: one pixel mustn't dim all


def scale(explanation: Explanation) -> ScalarMappable:
    """Values -> colours; 0 is the middle of a map with evidence against the class."""
    values = explanation.values
    most = float(np.percentile(np.abs(values), BRIGHTEST)) or float(np.abs(values).max()) or 1.0
    if explanation.signed:
        return ScalarMappable(Normalize(-most, most, clip=True), SIGNED)
    return ScalarMappable(Normalize(0, most, clip=True), RISING)


def strength(explanation: Explanation) -> npt.NDArray[np.float64]:
    """How much of its colour a position has, 0 to 1: what says nothing stays as it was."""
    most = scale(explanation).norm.vmax
    return np.clip(np.abs(explanation.values) / most, 0, 1)


def legend(figure: Figure, explanation: Explanation, axes: Any, **options: Any) -> None:
    bar = figure.colorbar(scale(explanation), ax=axes, **options)
    low, high = bar.mappable.norm.vmin, bar.mappable.norm.vmax
    ticks, names = [low, high], ["none", "most"]
    if explanation.signed:
        ticks, names = [low, 0, high], ["against", "none", "for"]
    bar.set_ticks(ticks, labels=names)
    bar.outline.set_visible(False)


def line(number: int, random: bool) -> dict[str, Any]:
    """Of a chart's lines, told apart without their colours too."""
    if random:
        return {"color": "0.55", "linestyle": ":", "linewidth": 2}
    return {
        "color": LINES[number % len(LINES)],
        "linestyle": ("-", "--", "-.")[number // len(LINES) % 3],
        "linewidth": 1.6,
    }


def title(explanation: Explanation) -> str:
    label = in_glyphs(explanation.label)
    said = f"{explanation.method}: {label} ({explanation.score:.3f})"
    if not explanation.layer:
        return said
    at = f"layer {explanation.layer}"
    return f"{said}, {at}" if len(said) + len(at) < TITLE else f"{said},\n{at}"


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
