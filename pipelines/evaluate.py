"""How good a network is: accuracy, and which classes it takes for which."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from pipelines.batches import MeasuringBatches
from pipelines.examples import Examples


@dataclass(frozen=True)
class Evaluation:
    accuracy: float
    confusion: np.ndarray  # int [K, K]: rows are true classes, columns what was answered


def evaluate(model: keras.Model, examples: Examples, classes: int) -> Evaluation:
    """Classify all of `examples`, unpadded and unaugmented."""
    confusion = np.zeros((classes, classes), int)
    for values, true in MeasuringBatches(examples):
        answered = np.argmax(model.predict_on_batch(values), axis=-1)
        np.add.at(confusion, (true, answered), 1)
    return Evaluation(float(np.trace(confusion) / max(confusion.sum(), 1)), confusion)


def draw_confusion(evaluation: Evaluation, labels: list[str], title: str, path: Path) -> None:
    """The confusion matrix as a picture: each row's share, with the counts up to 20 classes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(4.0 + 0.45 * len(labels), 24.0)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set(xlabel="answered", ylabel="true", title=title)
    if len(labels) <= 60:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, size=8)
    FigureCanvasAgg(figure).print_png(path)
