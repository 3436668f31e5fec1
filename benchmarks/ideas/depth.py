"""Plain and residual networks of more and more layers.

He 2015, figures 1 and 4: from some depth on a plain network is worse on its own training data, and
a residual one is not. Batch norm in both, as there.
"""

import keras
from keras import layers
from matplotlib.figure import Figure

from benchmarks.ideas.plots import line, of
from benchmarks.ideas.training import Data, Row, Scale, averaged, conv_norm, stem, train

SCALE = Scale(train=2000, test=1000, epochs=5, seeds=(0, 1))
DEPTHS = (6, 18, 36)  # convolutions behind the stem
FILTERS = 8


def network(depth: int, residual: bool) -> keras.Model:
    pictures, x = stem(FILTERS)
    for _ in range(depth // 2):
        y = conv_norm(conv_norm(x, FILTERS), FILTERS, relu=False)
        x = layers.ReLU()(layers.Add()([x, y]) if residual else y)
    return averaged(pictures, x)


def run(data: Data, scale: Scale) -> list[Row]:
    return [
        train(
            lambda depth=depth, residual=residual: network(depth, residual),
            data,
            scale.epochs,
            seed,
            network="residual" if residual else "plain",
            depth=depth,
        )[1]
        for seed in scale.seeds
        for depth in DEPTHS
        for residual in (False, True)
    ]


def draw(rows: list[Row], figure: Figure) -> None:
    last = [row | {"loss": row["losses"][-1]} for row in rows]
    left, right = figure.subplots(1, 2)
    for name in ("plain", "residual"):
        line(left, of(last, network=name), "depth", "loss", name, 1)
        line(right, of(last, network=name), "depth", "test_accuracy", name, 100)
    for axis in (left, right):
        axis.set_xlabel("convolutions behind the first")
        axis.legend(frameon=False, fontsize=8)
    left.set_ylabel("training loss, last epoch")
    right.set_ylabel("test accuracy, %")
