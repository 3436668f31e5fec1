"""Rows to points and their means."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from matplotlib.axes import Axes

from benchmarks.ideas.training import Row


def of(rows: Sequence[Row], **labels: Any) -> list[Row]:
    """Those rows that have these labels."""
    return [row for row in rows if all(row[key] == value for key, value in labels.items())]


def names(rows: Sequence[Row], key: str) -> list[Any]:
    """The values of a label, in the order they came."""
    return list(dict.fromkeys(row[key] for row in rows))


def points(axis: Axes, rows: Sequence[Row], key: str, *values: str, scale: float = 100) -> None:
    """Along `key`, each of `values`: a dot for each seed, and a line for their mean."""
    found = names(rows, key)
    apart = min(0.25, 0.8 / len(values))
    for number, value in enumerate(values):
        aside = (number - (len(values) - 1) / 2) * apart
        for place, name in enumerate(found):
            seen = [scale * row[value] for row in of(rows, **{key: name})]
            colour = f"C{number}"
            label = value.replace("_", " ") if not place and len(values) > 1 else None
            axis.plot([place + aside] * len(seen), seen, ".", color=colour, alpha=0.6)
            level = [mean(seen)] * 2
            axis.plot(
                [place + aside - apart / 3, place + aside + apart / 3],
                level,
                color=colour,
                label=label,
            )
    axis.set_xticks(range(len(found)), [str(name).replace(", ", "\n") for name in found])
    axis.set_xlim(-0.5, len(found) - 0.5)
    if len(values) > 1:
        axis.legend(frameon=False, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", alpha=0.3)


def line(axis: Axes, rows: Sequence[Row], key: str, value: str, label: str, scale: float) -> None:
    """The mean of `value` along the numbers of `key`, with the least and the most around it."""
    places = names(rows, key)
    seen = [[scale * row[value] for row in of(rows, **{key: place})] for place in places]
    (drawn,) = axis.plot(places, [mean(each) for each in seen], "o-", label=label, markersize=4)
    low, high = [min(each) for each in seen], [max(each) for each in seen]
    axis.fill_between(places, low, high, alpha=0.2, color=drawn.get_color())
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
