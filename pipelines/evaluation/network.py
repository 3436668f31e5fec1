"""Which classes a network takes for which, in training's own process: Keras, no artefact yet."""

import keras
import numpy as np

from pipelines.batches import MeasuringBatches
from pipelines.examples import Examples


def confusion(model: keras.Model, examples: Examples, classes: int) -> np.ndarray:
    """Classify all of `examples`, unpadded and unaugmented.

    Returns: int [K, K]: rows are true classes, columns what was answered.
    """
    counts = np.zeros((classes, classes), int)
    for values, true in MeasuringBatches(examples):
        answered = np.argmax(model.predict_on_batch(values), axis=-1)
        np.add.at(counts, (true, answered), 1)
    return counts
