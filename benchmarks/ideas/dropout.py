"""Dropout before and after a large fully connected layer, where pictures are few.

Srivastava 2014 (jmlr.org/papers/v15/srivastava14a.html): less of what is learned by heart, more of
what holds for others.
"""

import keras
from keras import layers
from matplotlib.figure import Figure

from benchmarks.ideas.plots import points
from benchmarks.ideas.training import CLASSES, Data, Row, Scale, conv_norm, stem, train

SCALE = Scale(train=1000, test=1000, epochs=15, seeds=(0, 1))
RATES = (0.0, 0.25, 0.5, 0.75)
UNITS = 256


def network(rate: float) -> keras.Model:
    pictures, x = stem()
    x = layers.Flatten()(layers.MaxPooling2D(2)(conv_norm(x, 32)))  # [B, 8 * 8 * 32]
    x = layers.Dense(UNITS, activation="relu")(layers.Dropout(rate)(x))
    return keras.Model(pictures, layers.Dense(CLASSES)(layers.Dropout(rate)(x)))


def run(data: Data, scale: Scale) -> list[Row]:
    return [
        train(lambda rate=rate: network(rate), data, scale.epochs, seed, rate=rate)[1]
        for seed in scale.seeds
        for rate in RATES
    ]


def draw(rows: list[Row], figure: Figure) -> None:
    axis = figure.subplots()
    points(axis, rows, "rate", "train_accuracy", "test_accuracy")
    axis.set_xlabel("share of the units that is dropped")
    axis.set_ylabel("accuracy, %")
