"""A comparison of methods as one HTML page that reads by itself."""

import base64
import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from pipelines.explain.compare import RANDOM, Comparison, Seen
from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network
from pipelines.explain.pictures import audio, colours, image, text
from pipelines.explain.sanity import SHARES
from pipelines.page import templates
from pipelines.whole_file import write_file

PICTURED = 50  # inputs that the page shows; its figures are of all
INK = "#010203"  # becomes the page's own colour, dark or light
GRID = np.linspace(0, 1, 33)


def write_report(comparison: Comparison, command: str, path: Path) -> None:
    """Whole or not at all.  Raises: OSError."""
    write_file(path, to_html(comparison, command))


def to_html(comparison: Comparison, command: str) -> str:
    template = templates(Path(__file__).parent / "template").get_template("report.html")
    network = comparison.network
    return template.render(
        comparison=comparison,
        network=network,
        random=RANDOM,
        shares=SHARES,
        charts=Markup(_charts(comparison)),
        shown=[_shown(network, each) for each in comparison.seen[:PICTURED]],
        command=command,
        triptych=version("triptych"),
    )


def _shown(network: Network, seen: Seen) -> dict[str, Any]:
    cells = [
        (explanation, _cell(network, seen, explanation))
        for explanation in seen.explanations.values()
    ]
    return {"seen": seen, "input": _input(network, seen), "cells": cells}


def _input(network: Network, seen: Seen) -> dict[str, Any]:
    if network.domain == "text":
        return {"html": network.inputs.decode(seen.item)}
    if network.domain == "audio":
        waveform = network.inputs.decode(seen.item)
        return {
            "picture": _address(audio.spectrum(seen.example)),
            "sound": _sound(network, waveform),
        }
    return {"picture": _address(network.inputs.picture(seen.example))}


def _cell(network: Network, seen: Seen, explanation: Explanation) -> dict[str, Any]:
    if network.domain == "text":
        return {"html": text.html(network, seen.item, seen.example, explanation)}
    if network.domain == "audio":
        waveform = network.inputs.decode(seen.item)
        kept = audio.kept_part(network, waveform, explanation)
        picture = _address(audio.overlay(seen.example, explanation))
        return {"picture": picture, "sound": _sound(network, kept)}
    picture = image.overlay(network.inputs.picture(seen.example), explanation)
    return {"picture": _address(picture)}


def _address(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _sound(network: Network, waveform: np.ndarray) -> str:
    content = audio.wav(waveform, network.inputs.spec.audio.sample_rate_hz)
    return f"data:audio/wav;base64,{base64.b64encode(content).decode()}"


def _charts(comparison: Comparison) -> str:
    """As SVG: the mean deletion and insertion curves, and the sanity check's, a line a method."""
    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    with rc_context({"svg.fonttype": "none", "font.size": 9, **dict.fromkeys(names, INK)}):
        figure = Figure(figsize=(10.5, 3.6), layout="constrained")
        deletion, insertion, sanity = figure.subplots(1, 3)
        for number, verdict in enumerate(comparison.verdicts):
            style = colours.line(number, verdict.method == RANDOM)
            found = [each.curves[verdict.method] for each in comparison.seen]
            for axes, kind in ((deletion, "deletion"), (insertion, "insertion")):
                rows = [np.interp(GRID, each.shares, getattr(each, kind)) for each in found]
                label = verdict.method if axes is deletion else None
                axes.plot(GRID, np.mean(rows, axis=0), label=label, **style)
            if verdict.sanity:
                sanity.plot([0, *SHARES], [1, *verdict.sanity], **style)
        deletion.set(title="deletion: low is good", xlabel="share taken away", ylabel="score")
        insertion.set(title="insertion: high is good", xlabel="share given")
        sanity.set(title="sanity: to 0 is good", xlabel="share of layers shuffled")
        sanity.set_ylabel("rank correlation")
        sanity.axhline(0, color=INK, linewidth=0.5)
        for axes in (deletion, insertion, sanity):
            axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=5, frameon=False)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
