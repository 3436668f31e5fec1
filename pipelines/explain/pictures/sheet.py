"""Many small pictures on one sheet, a line of text over each; and curves."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from pipelines.explain.pictures.colours import SIGNED, png
from pipelines.explain.pictures.glyphs import in_glyphs

RISING = matplotlib.colormaps["cividis"]
DPI = 100


class Cell(NamedTuple):
    picture: npt.NDArray | None  # uint8 [H, W, 3] or [H, W]; or float [H, W], which gets colours
    caption: str = ""


def sheet(
    rows: Sequence[Sequence[Cell]],
    title: str = "",
    names: Sequence[str] = (),
    inches: float = 1.1,
    smooth: bool = False,
) -> bytes:
    """PNG: a row of cells for each row, a small picture enlarged pixel by pixel.

    Args:    names: of the rows, at their left; inches: a cell's width; smooth: bicubic instead.
    """
    columns = max(len(row) for row in rows)
    shapes = [cell.picture.shape[:2] for row in rows for cell in row if cell.picture is not None]
    tall = min(max(height / width for height, width in shapes), 2.0)
    lines = max(cell.caption.count("\n") + 1 for row in rows for cell in row)
    left, line = (1.3 if names else 0.1), 0.155
    head = 0.35 if title else 0.05
    step = max(inches * min(tall, 1.0), 0.35) + line * lines + 0.06
    width, height = left + columns * (inches + 0.06), head + len(rows) * step + 0.05
    figure = Figure(figsize=(width, height), dpi=DPI)
    if title:
        figure.text(0.1 / width, 1 - 0.22 / height, title, size=10, va="center")
    for n, row in enumerate(rows):
        top = head + n * step
        if names:
            middle = top + line * lines + (step - line * lines) / 2
            figure.text(0.08 / width, 1 - middle / height, names[n], size=8.5, va="center")
        for m, cell in enumerate(row):
            if cell.picture is None:
                continue
            box = (
                (left + m * (inches + 0.06)) / width,
                1 - (top + step - 0.06) / height,
                inches / width,
                (step - line * lines - 0.06) / height,
            )
            axes = figure.add_axes(box)
            axes.set_axis_off()
            axes.imshow(coloured(cell.picture), interpolation="bicubic" if smooth else "nearest")
            axes.set_title(in_glyphs(cell.caption), size=7.5, pad=2.5, parse_math=False)
    return png(figure)


def coloured(picture: npt.NDArray) -> npt.NDArray[np.uint8]:
    """[H, W, 3] as it is, [H, W] of grey levels grey; of other numbers, by a colour map."""
    if picture.dtype == np.uint8:
        return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    if picture.min() < 0:
        most = float(np.abs(picture).max()) or 1.0
        return (SIGNED(picture / most / 2 + 0.5)[..., :3] * 255).astype(np.uint8)
    most = float(picture.max()) or 1.0
    return (RISING(picture / most)[..., :3] * 255).astype(np.uint8)


def curves(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    title: str,
    labels: tuple[str, str],
) -> bytes:
    """PNG of figures from 0 to 1 over x, a line each with marks of its own."""
    figure = Figure(figsize=(5.6, 3.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for (name, values), mark, colour in zip(
        lines.items(), "os^D", ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=False
    ):
        axes.plot(x, values, marker=mark, color=colour, label=name)
    axes.set(xlabel=labels[0], ylabel=labels[1], ylim=(0, 1.02))
    axes.set_title(title, size=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return png(figure)


def photo(picture: npt.NDArray[np.uint8]) -> bytes:
    """PNG of the picture alone, a pixel each."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()
