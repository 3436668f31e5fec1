"""Lists of words as a picture: n-grams, a line for each unit."""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pipelines.explain.pictures.colours import png
from pipelines.explain.pictures.glyphs import in_glyphs
from pipelines.explain.pictures.sheet import DPI

WIDTH, LINE = 7.2, 0.2  # inches
LETTERS = 82  # a line
FAMILY = "DejaVu Sans Mono"


def listed(title: str, lines: Mapping[str, Sequence[str]]) -> bytes:
    """PNG: each name in bold, and below it what belongs to it, separated by bars."""
    wrapped = {
        name: textwrap.wrap(in_glyphs("  |  ".join(words), FAMILY), LETTERS)
        for name, words in lines.items()
    }
    height = 0.45 + sum(LINE * (len(each) + 1.4) for each in wrapped.values())
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    at = {"va": "center", "parse_math": False}
    figure.text(0.1 / WIDTH, 1 - 0.22 / height, in_glyphs(title), size=10, **at)
    y = 0.5
    for name, rows in wrapped.items():
        figure.text(0.1 / WIDTH, 1 - y / height, in_glyphs(name), size=9, weight="bold", **at)
        for row in rows:
            y += LINE
            figure.text(0.25 / WIDTH, 1 - y / height, row, size=9, family=FAMILY, **at)
        y += LINE * 1.4
    return png(figure)
