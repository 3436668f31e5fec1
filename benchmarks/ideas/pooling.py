"""Overlapping maxima (3 wide, 2 apart) against those side by side (2 wide, 2 apart).

Krizhevsky 2012, section 3.4: 0.4 points less error on ImageNet, and harder to overfit.
"""

import keras
from keras import layers
from matplotlib.figure import Figure

from benchmarks.ideas.plots import points
from benchmarks.ideas.training import Data, Row, Scale, averaged, conv_norm, train

SCALE = Scale(train=2000, test=1000, epochs=6, seeds=(0, 1))
POOLS = {
    "maximum, 2x2": lambda: layers.MaxPooling2D(2, 2, "same"),
    "maximum, 3x3, overlapping": lambda: layers.MaxPooling2D(3, 2, "same"),
    "mean, 2x2": lambda: layers.AveragePooling2D(2, 2, "same"),
    "none, convolution strides": None,
}


def network(pool) -> keras.Model:
    pictures = x = layers.Input((32, 32, 3))
    for filters in (16, 32, 64):
        x = conv_norm(x, filters, strides=1 if pool else 2)
        x = pool()(x) if pool else x
    return averaged(pictures, x)


def run(data: Data, scale: Scale) -> list[Row]:
    return [
        train(lambda pool=pool: network(pool), data, scale.epochs, seed, network=name)[1]
        for seed in scale.seeds
        for name, pool in POOLS.items()
    ]


def draw(rows: list[Row], figure: Figure) -> None:
    axis = figure.subplots()
    points(axis, rows, "network", "train_accuracy", "test_accuracy")
    axis.set_ylabel("accuracy, %")
