"""Three 3x3 convolutions against one of 7x7: the same field of view, 27 against 49 weights.

Simonyan 2015, section 2.3, has both claims: fewer weights, and more ReLUs to decide with. So there
are stacks without the ReLUs between, too, and one as wide as makes its weights as many.
"""

import keras
from matplotlib.figure import Figure

from benchmarks.ideas.plots import points
from benchmarks.ideas.training import Data, Row, Scale, averaged, conv_norm, stem, train

SCALE = Scale(train=2000, test=1000, epochs=6, seeds=(0, 1, 2))
FILTERS, WIDER = 16, 23  # 49 * 16 * 16 = 12,544 weights, about 9 * (16 * 23 + 2 * 23 * 23)


def large() -> keras.Model:
    pictures, x = stem(FILTERS)
    return averaged(pictures, conv_norm(x, FILTERS, 7))


def stack(filters: int = FILTERS, relu: bool = True) -> keras.Model:
    pictures, x = stem(FILTERS)
    for last in (False, False, True):
        x = conv_norm(x, filters, 3, relu=relu or last)
    return averaged(pictures, x)


NETWORKS = {
    "one 7x7": large,
    "three 3x3": stack,
    "three 3x3, no ReLU between": lambda: stack(relu=False),
    "three 3x3, wider": lambda: stack(WIDER),
}


def run(data: Data, scale: Scale) -> list[Row]:
    return [
        train(make, data, scale.epochs, seed, network=name)[1]
        for seed in scale.seeds
        for name, make in NETWORKS.items()
    ]


def draw(rows: list[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    points(left, rows, "network", "test_accuracy")
    left.set_ylabel("test accuracy, %")
    points(right, rows, "network", "multiply_adds", scale=1e-6)
    right.set_ylabel("multiply-adds, millions")
    right.set_ylim(0)
    for label in (*left.get_xticklabels(), *right.get_xticklabels()):
        label.set_fontsize(6)
