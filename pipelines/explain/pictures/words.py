"""Lists of words as a picture: n-grams, a line for each unit."""

import textwrap
import warnings
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pipelines.explain.pictures.colours import png
from pipelines.explain.pictures.sheet import DPI

WIDTH, LINE = 7.2, 0.2  # inches
LETTERS = 82  # a line


def listed(title: str, lines: Mapping[str, Sequence[str]]) -> bytes:
    """PNG: each name in bold, and below it what belongs to it, separated by bars."""
    wrapped = {name: textwrap.wrap("  |  ".join(words), LETTERS) for name, words in lines.items()}
    height = 0.45 + sum(LINE * (len(each) + 1.4) for each in wrapped.values())
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a script that the font doesn't have
        figure.text(0.1 / WIDTH, 1 - 0.22 / height, title, size=10, va="center", parse_math=False)
        y = 0.5
        for name, rows in wrapped.items():
            at = {"va": "center", "parse_math": False}
            figure.text(0.1 / WIDTH, 1 - y / height, name, size=9, weight="bold", **at)
            for row in rows:
                y += LINE
                figure.text(0.25 / WIDTH, 1 - y / height, row, size=9, family="monospace", **at)
            y += LINE * 1.4
        return png(figure)
