"""A text's words, each on the colour of what it counts: as a PNG, and as HTML for a page."""

import numpy.typing as npt
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network
from pipelines.explain.pictures.colours import legend, png, scale, title
from pipelines.explain.pictures.glyphs import in_glyphs

WIDTH, LINE, MARGIN = 700, 34, 16  # pixels
DPI = 100


def draw(
    network: Network, item: bytes | str, example: npt.NDArray, explanation: Explanation
) -> bytes:
    """PNG 700 pixels wide, as high as the text has lines."""
    words = [
        (in_glyphs(word), colour, ink)
        for word, colour, ink in coloured(network, item, example, explanation)
    ]
    height, placed = _lines([word for word, _, _ in words])
    figure = Figure(figsize=(WIDTH / DPI, (height + 120) / DPI), dpi=DPI)
    axes = figure.add_axes((0, 70 / (height + 120), 1, height / (height + 120)))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    figure.text(MARGIN / WIDTH, 1 - 24 / (height + 120), title(explanation), size=11, va="center")
    for (x, y), (word, colour, ink) in zip(placed, words, strict=True):
        box = {"facecolor": colour, "edgecolor": "none", "boxstyle": "round,pad=0.25"}
        axes.text(x, y, word, size=12, color=ink, bbox=box, va="center", parse_math=False)
    bar = figure.add_axes((0.06, 40 / (height + 120), 0.3, 10 / (height + 120)))
    legend(figure, explanation, None, cax=bar, orientation="horizontal")
    return png(figure)


def html(
    network: Network, item: bytes | str, example: npt.NDArray, explanation: Explanation
) -> Markup:
    spans = (
        Markup('<span class="token" style="background:{};color:{}">{}</span>').format(
            colour, ink, word
        )
        for word, colour, ink in coloured(network, item, example, explanation)
    )
    return Markup(" ").join(spans)


def coloured(
    network: Network, item: bytes | str, example: npt.NDArray, explanation: Explanation
) -> list[tuple[str, str, str]]:
    """(word, its background, its own colour) of each token."""
    tokens = network.inputs.tokens(item, example)
    rgb = scale(explanation).to_rgba(explanation.values)[..., :3]
    found = []
    for token, colour in zip(tokens, rgb, strict=False):
        dark = colour @ (0.299, 0.587, 0.114) < 0.5
        found.append((token, to_hex(colour), "white" if dark else "black"))
    return found


def _lines(words: list[str]) -> tuple[int, list[tuple[float, float]]]:
    """The height in pixels, and where each word begins; what is too wide begins a line."""
    figure = Figure(figsize=(WIDTH / DPI, 1), dpi=DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    x, y, placed = float(MARGIN), LINE / 2, []
    for word in words:
        sample = figure.text(0, 0, word, size=12, parse_math=False)
        width = sample.get_window_extent(renderer).width
        sample.remove()
        if x + width > WIDTH - MARGIN and x > MARGIN:
            x, y = float(MARGIN), y + LINE
        placed.append((x, y))
        x += width + 14
    return round(y + LINE / 2), placed
