"""A global mean in the place of flattened maps and fully connected layers.

Lin 2014, section 3.2: no weights, so less to learn by heart, and sturdier against translation. The
second is measured on test pictures that were moved, zeros where nothing is any more.
"""

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from benchmarks.ideas.plots import points
from benchmarks.ideas.training import CLASSES, Data, Row, Scale, accuracy, conv_norm, stem, train

SCALE = Scale(train=2000, test=1000, epochs=6, seeds=(0, 1))
UNITS, MOVED = 128, 4  # pixels


def flattened(x):
    return layers.Dense(CLASSES)(layers.Dense(UNITS, activation="relu")(layers.Flatten()(x)))


HEADS = {
    "flatten, 128 units": flattened,
    "flatten": lambda x: layers.Dense(CLASSES)(layers.Flatten()(x)),
    "global mean": lambda x: layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)),
    "global maximum": lambda x: layers.Dense(CLASSES)(layers.GlobalMaxPooling2D()(x)),
}


def network(head) -> keras.Model:
    pictures, x = stem()
    x = conv_norm(layers.MaxPooling2D(2)(conv_norm(x, 32)), 48)  # [B, 8, 8, 48]
    return keras.Model(pictures, head(x))


def moved(pictures: np.ndarray) -> np.ndarray:
    """Each by MOVED pixels, along one of the four diagonals in turn."""
    found = np.zeros_like(pictures)
    for number, (down, right) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        each = np.roll(pictures[number::4], (down * MOVED, right * MOVED), (1, 2))
        each[:, slice(0, MOVED) if down > 0 else slice(-MOVED, None)] = 0
        each[:, :, slice(0, MOVED) if right > 0 else slice(-MOVED, None)] = 0
        found[number::4] = each
    return found


def run(data: Data, scale: Scale) -> list[Row]:
    elsewhere = moved(data.x_test)
    rows = []
    for seed in scale.seeds:
        for name, head in HEADS.items():
            trained, row = train(
                lambda head=head: network(head), data, scale.epochs, seed, network=name
            )
            rows.append(row | {"moved_accuracy": accuracy(trained, elsewhere, data.y_test)})
    return rows


def draw(rows: list[Row], figure: Figure) -> None:
    axis = figure.subplots()
    points(axis, rows, "network", "train_accuracy", "test_accuracy", "moved_accuracy")
    axis.set_ylabel("accuracy, %")
