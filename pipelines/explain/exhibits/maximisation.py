"""What a layer's filters or neurons, or the classes, like best: without constraints, and with."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.explain.activation_maximization import Maximised, activation_maximization
from pipelines.explain.canvas import Canvas
from pipelines.explain.errors import ExplainError
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.input_modifiers import Jitter, Rotate2D
from pipelines.explain.network import Network
from pipelines.explain.ngrams import nearest_ngram
from pipelines.explain.parametrisation import Fourier
from pipelines.explain.pictures.sheet import Cell, sheet
from pipelines.explain.pictures.words import listed
from pipelines.explain.regularizers import L1, TotalVariation2D

UNITS = 10  # of a layer, if nobody says which
STEPS = 128
SPARSE, PLAIN = 0.05, 0.05  # weights of L1 and total variation, for each of 784 pixels
FINE = 0.05  # steps: what is dear grows slowly, or it leaves grain
PIXELS = 28 * 28
WORDS = 3  # of an n-gram, where a layer sees more


def of_units(
    network: Network,
    *,
    layer: str | None = None,
    units: Sequence[int] | None = None,
    steps: int = STEPS,
) -> Exhibit:
    """Side by side: ascent without constraints, and with them; of texts the nearest n-grams.

    Args:    layer: None for the classes; units: of the layer, by default the first ten.
    """
    output = network.model.output if layer is None else network.layer(layer)
    count = output.shape[-1]
    units = list(units) if units else list(range(min(UNITS, count)))
    wrong = [unit for unit in units if not 0 <= unit < count]
    if wrong:
        raise ExplainError(
            f"there is no unit {wrong[0]} in {layer or 'the classes'}: 0 to {count - 1}"
        )
    names = [network.labels[unit] if layer is None else f"unit {unit}" for unit in units]
    title = f"{network.name}: what excites {layer or 'each class'} most"
    if network.domain == "text":
        return _ngrams(network, layer, units, names, title, steps)
    canvas = Canvas.of(network)
    model = canvas.model(*([layer] if layer else []))
    cost = PIXELS / np.prod(canvas.shape[:2])
    ways = {
        "free": {},
        "constrained": {
            "step_size": FINE,
            "regularizers": [L1(SPARSE * cost), TotalVariation2D(PLAIN * cost)],
            "input_modifiers": [Jitter((2, 0)) if network.domain == "audio" else Jitter(2)],
        },
    }
    if network.domain == "image":
        ways["constrained"]["input_modifiers"].append(Rotate2D(10))
        ways["waves"] = {
            "parametrisation": Fourier(),
            "regularizers": [TotalVariation2D(PLAIN * cost)],
            "input_modifiers": ways["constrained"]["input_modifiers"],
        }
    found = {
        way: activation_maximization(model, units, steps=steps, **options)
        for way, options in ways.items()
    }
    sure = {way: _scores(canvas, each) for way, each in found.items()} if layer is None else {}
    rows = [
        [
            Cell(canvas.picture(picture), _caption(name, sure.get(way), n, units, each))
            for n, (name, picture) in enumerate(zip(names, each.inputs, strict=True))
        ]
        for way, each in found.items()
    ]
    facts = [
        f"{way}: "
        + ", ".join(
            _caption(name, sure.get(way), n, units, each).replace("\n", " ")
            for n, name in enumerate(names)
        )
        for way, each in found.items()
    ]
    values = {
        f"{way}_{key}": getattr(each, key)
        for way, each in found.items()
        for key in ("inputs", "activations", "history")
    }
    return Exhibit(sheet(rows, title, list(found), inches=0.85), values, facts)


def _scores(canvas: Canvas, found: Maximised) -> np.ndarray:
    """Of the pictures as they are stored, in eight bits."""
    stored = (np.round(found.inputs * 255) / 255).astype(np.float32)
    return tf.nn.softmax(canvas.model()(stored, training=False)).numpy()


def _caption(name: str, scores, n: int, units: Sequence[int], found: Maximised) -> str:
    value = f"{found.activations[n]:.3g}" if scores is None else f"{scores[n, units[n]]:.3f}"
    return f"{name}\n{value}"


def _ngrams(network, layer, units, names, title, steps) -> Exhibit:
    lines, values = {}, {}
    for unit, name in zip(units, names, strict=True):
        ngram = nearest_ngram(network, layer, unit, WORDS, steps)
        text = " ".join(ngram.words)
        lines[name] = [f"{text}   {ngram.activation:.3g} (vectors: {ngram.ideal:.3g})"]
        values[f"unit_{unit}"] = np.array([ngram.activation, ngram.ideal])
    facts = [f"{name}: {line}" for name, (line,) in lines.items()]
    return Exhibit(listed(title, lines), values, facts)
