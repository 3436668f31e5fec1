"""Bottleneck, groups and separable convolution in the place of a plain 3x3.

Fewer weights and multiply-adds: He 2015, figure 5; Krizhevsky 2012, figure 2; Howard 2017, section
3.1. What they take of time is measured beside them.
"""

import time

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from benchmarks.ideas.plots import names, of, points
from benchmarks.ideas.training import Data, Row, Scale, averaged, conv_norm, say, stem, train
from models.layers.grouped import GroupedConv2D
from models.layers.shuffle import ChannelShuffle

SCALE = Scale(train=2000, test=1000, epochs=6, seeds=(0, 1))
FILTERS, GROUPS, REDUCTION, LAYERS = 64, 4, 4, 2
ROUNDS, BATCH = 10, 64


def plain(x):
    return conv_norm(x, FILTERS)


def bottleneck(x):
    x = conv_norm(conv_norm(x, FILTERS // REDUCTION, 1), FILTERS // REDUCTION)
    return conv_norm(x, FILTERS, 1)


def grouped(x):
    x = GroupedConv2D(FILTERS, 3, padding="same", groups=GROUPS, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return ChannelShuffle(GROUPS)(x)  # Zhang 2018: else no group ever hears of another


def separable(x):
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    return conv_norm(layers.BatchNormalization(momentum=0.9)(x), FILTERS, 1)


LAYER = {"plain": plain, "bottleneck": bottleneck, "4 groups": grouped, "separable": separable}


def network(layer) -> keras.Model:
    pictures, x = stem()
    x = conv_norm(layers.MaxPooling2D(2)(x), FILTERS)  # [B, 8, 8, 64]
    for _ in range(LAYERS):
        x = layer(x)
    return averaged(pictures, x)


def run(data: Data, scale: Scale) -> list[Row]:
    rows = []
    for seed in scale.seeds:
        trained = {}
        for name, layer in LAYER.items():
            trained[name], row = train(
                lambda layer=layer: network(layer), data, scale.epochs, seed, network=name
            )
            rows.append(row)
        for name, spent in inference(trained, data.x_test[:BATCH]).items():
            of(rows, network=name, seed=seed)[0]["inference_core_ms"] = spent
    return rows


def inference(trained: dict[str, keras.Model], pictures: np.ndarray) -> dict[str, float]:
    """Milliseconds of all cores together for a picture: the least of rounds that take turns."""
    spent: dict[str, list[float]] = {name: [] for name in trained}
    for _ in range(ROUNDS + 1):  # the first one compiles
        for name, each in trained.items():
            started = time.process_time()
            each.predict_on_batch(pictures)
            spent[name].append(1000 * (time.process_time() - started) / len(pictures))
    least = {name: round(min(times[1:]), 4) for name, times in spent.items()}
    say({"inference_core_ms": least})
    return least


def draw(rows: list[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    points(left, rows, "network", "test_accuracy")
    left.set_ylabel("test accuracy, %")
    shown = {
        "parameters": "parameters",
        "multiply_adds": "multiply-adds",
        "inference_core_ms": "time to infer",
    }
    for number, (key, label) in enumerate(shown.items()):
        least = [min(row[key] for row in of(rows, network=name)) for name in LAYER]
        shares = [100 * value / least[0] for value in least]
        right.bar(np.arange(len(LAYER)) + (number - 1) * 0.25, shares, 0.25, label=label)
    right.set_xticks(range(len(LAYER)), names(rows, "network"), fontsize=8)
    right.set_ylabel("% of the plain network's")
    right.legend(frameon=False, fontsize=8)
