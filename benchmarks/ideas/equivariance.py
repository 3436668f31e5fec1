"""What moves or turns with its input, of networks with random weights.

A convolution commutes with translation (LeCun 1989, doi 10.1162/neco.1989.1.4.541): exactly where
the picture goes on at its other side, and by multiples of the stride. With zeros around it doesn't
at the borders. With rotation it doesn't commute at all, but for kernels that look the same when
turned.
"""

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

from benchmarks.ideas.plots import line, of
from benchmarks.ideas.training import Data, Row, Scale, say

SCALE = Scale(train=0, test=64, epochs=0, seeds=(0, 1, 2))
SHIFTS = tuple(range(9))
TURNS = (0, 1, 2, 3)  # quarters
FILTERS, LAYERS = 16, 3
WAYS = {  # of padding, and the stride of the second layer
    "circular": ("circular", 1),
    "zeros": ("zeros", 1),
    "circular, stride 2": ("circular", 2),
}


def kernels(seed: int, symmetric: bool = False) -> list[np.ndarray]:
    """He's, [3, 3, C, filters] each; symmetric: the mean over the four quarter turns."""
    rng = np.random.default_rng(seed)
    found = []
    for channels in (3, *[FILTERS] * (LAYERS - 1)):
        kernel = rng.normal(0, np.sqrt(2 / (9 * channels)), (3, 3, channels, FILTERS))
        found.append(sum(np.rot90(kernel, k) for k in range(4)) / 4 if symmetric else kernel)
    return found


def maps(x: np.ndarray, layers: list[np.ndarray], padding: str, stride: int) -> np.ndarray:
    """Convolution and ReLU, in float64 so that rounding doesn't show.  [B, H, W, 3] -> maps"""
    mode = {"circular": "wrap", "zeros": "constant"}[padding]
    for number, kernel in enumerate(layers):
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode)
        x = ops.conv(x, kernel, strides=stride if number == 1 else 1, padding="valid")
        x = np.maximum(keras.ops.convert_to_numpy(x), 0)
    return x


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference, as a share of the expected maps'."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def run(data: Data, scale: Scale) -> list[Row]:
    pictures = data.x_test.astype(np.float64)
    rows: list[Row] = []
    for seed in scale.seeds:
        for way, (padding, stride) in WAYS.items():
            plain = maps(pictures, kernels(seed), padding, stride)
            for shift in SHIFTS:
                found = maps(np.roll(pictures, shift, 2), kernels(seed), padding, stride)
                # A shift by no multiple of the stride has no place of its own: the nearest.
                expected = np.roll(plain, round(shift / stride), 2)
                rows.append(_row(seed, way, "shift", shift, apart(found, expected)))
        for way, symmetric in (("any kernels", False), ("kernels of four equal turns", True)):
            weights = kernels(seed, symmetric)
            plain = maps(pictures, weights, "circular", 1)
            for turn in TURNS:
                found = maps(np.rot90(pictures, turn, (1, 2)), weights, "circular", 1)
                expected = np.rot90(plain, turn, (1, 2))
                rows.append(_row(seed, way, "quarters", turn, apart(found, expected)))
    return rows


def _row(seed: int, way: str, kind: str, amount: int, off: float) -> Row:
    row = {"network": way, "seed": seed, "change": kind, "amount": amount, "apart": off}
    say(row)
    return row


def draw(rows: list[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, change in ((left, "shift"), (right, "quarters")):
        for way in dict.fromkeys(row["network"] for row in of(rows, change=change)):
            line(axis, of(rows, change=change, network=way), "amount", "apart", way, 100)
        axis.legend(frameon=False, fontsize=8)
    left.set_xlabel("pixels that the pictures are moved")
    right.set_xlabel("quarter turns")
    right.set_xticks(TURNS)
    left.set_ylabel("maps are apart, %")
