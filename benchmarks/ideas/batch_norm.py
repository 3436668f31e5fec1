"""Batch norm over learning rates: with it a network bears higher ones, and learns sooner.

Ioffe 2015, section 3.3. By SGD with momentum and a constant rate, so that nothing else makes up
for a bad one.
"""

import math

import keras
from keras import layers
from matplotlib.figure import Figure

from benchmarks.ideas.plots import line, names, of
from benchmarks.ideas.training import CLASSES, Data, Row, Scale, train

SCALE = Scale(train=2000, test=1000, epochs=4, seeds=(0, 1))
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
FILTERS = (16, 32, 32, 64)
WITH, WITHOUT = "with batch norm", "without"


def network(normed: bool) -> keras.Model:
    pictures = x = layers.Input((32, 32, 3))
    for filters in FILTERS:
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=not normed, kernel_initializer="he_normal"
        )(x)
        x = layers.BatchNormalization(momentum=0.9)(x) if normed else x
        x = layers.MaxPooling2D(2)(layers.ReLU()(x))
    return keras.Model(pictures, layers.Dense(CLASSES)(layers.Flatten()(x)))


def run(data: Data, scale: Scale) -> list[Row]:
    return [
        train(
            lambda normed=normed: network(normed),
            data,
            scale.epochs,
            seed,
            keras.optimizers.SGD(rate, momentum=0.9),
            network=WITH if normed else WITHOUT,
            learning_rate=rate,
        )[1]
        for seed in scale.seeds
        for normed in (True, False)
        for rate in RATES
    ]


def best_rate(rows: list[Row]) -> float:
    """Where the last epoch's loss is the least, over the seeds' mean."""
    losses = {
        rate: sum(row["losses"][-1] or math.inf for row in of(rows, learning_rate=rate))
        for rate in names(rows, "learning_rate")
    }
    return min(losses, key=losses.__getitem__)


def draw(rows: list[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    for name in (WITH, WITHOUT):
        chosen = of(rows, network=name)
        line(left, chosen, "learning_rate", "test_accuracy", name, 100)
        rate = best_rate(chosen)
        epochs = [
            {"epoch": epoch + 1, "loss": loss}
            for row in of(chosen, learning_rate=rate)
            for epoch, loss in enumerate(row["losses"])
        ]
        line(right, epochs, "epoch", "loss", f"{name}, rate {rate:g}", 1)
    left.set_xscale("log")
    left.set_xlabel("learning rate")
    left.set_ylabel("test accuracy, %")
    right.set_xticks(range(1, 1 + len(rows[0]["losses"])))
    right.set_xlabel("epoch, each at its best rate")
    right.set_ylabel("training loss")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
