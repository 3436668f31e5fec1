"""What the experiments share: pictures, a short training run, and the row that it leaves."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from models.cost import cost
from pipelines.datasets import load_dataset
from pipelines.examples import Reader
from pipelines.preprocessing import ImagePreprocessing

CLASSES = 10
BATCH_SIZE = 64
LEARNING_RATE = 2e-3  # of Adam; falls to 0 along a cosine

Row = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How much of it: examples of each kind, epochs, and the seeds of weights and order."""

    train: int
    test: int
    epochs: int
    seeds: tuple[int, ...]


class Data(NamedTuple):
    """float32 [N, ...] and int32 [N], of training and of test."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def cifar10(data_dir: Path | None, scale: Scale) -> Data:
    """As many of its pictures, the same ones each time; no augmentation."""
    listed = load_dataset("cifar10", data_dir)
    reader = Reader(ImagePreprocessing(32, 32))
    found: list[np.ndarray] = []
    for split, count in ((listed.train, scale.train), (listed.test, scale.test)):
        order = np.random.default_rng(0).permutation(len(split))[:count]
        examples, _ = reader.read([split[i] for i in order], "pictures")
        found += [np.asarray(examples.values), examples.class_ids]
    return Data(*found)


def train(
    make: Callable[[], keras.Model],
    data: Data,
    epochs: int,
    seed: int,
    optimizer: keras.optimizers.Optimizer | None = None,
    **labels: Any,
) -> tuple[keras.Model, Row]:
    """Train a fresh network.

    Args:    make: builds it, all its sizes known; optimizer: None: Adam and a cosine; labels: what
             the row begins with.
    Returns: it, and the row: cost, accuracy, loss of each epoch (None if it isn't
             finite), seconds of all cores together, compiling included.
    """
    keras.utils.set_random_seed(seed)
    network = make()
    steps = epochs * -(-len(data.x) // BATCH_SIZE)
    falling = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    network.compile(
        optimizer or keras.optimizers.Adam(falling),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    started = time.process_time()
    history = network.fit(data.x, data.y, BATCH_SIZE, epochs, verbose=0).history
    seconds = time.process_time() - started
    about = cost(network, data.x.shape[1:])
    row = {
        **labels,
        "seed": seed,
        "parameters": about.parameters,
        "multiply_adds": about.multiply_adds,
        "train_accuracy": accuracy(network, data.x[: len(data.x_test)], data.y[: len(data.x_test)]),
        "test_accuracy": accuracy(network, data.x_test, data.y_test),
        "losses": [round(x, 4) if math.isfinite(x) else None for x in history["loss"]],
        "core_seconds": round(seconds, 1),
    }
    say(row)
    return network, row


def accuracy(network: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    return round(float(np.mean(network.predict(x, 256, verbose=0).argmax(-1) == y)), 4)


def say(row: Mapping[str, Any]) -> None:
    shown = {key: value for key, value in row.items() if key != "losses"}
    print("  ".join(f"{key} {value}" for key, value in shown.items()), file=sys.stderr, flush=True)


def conv_norm(x, filters: int, kernel_size: Any = 3, strides: int = 1, relu: bool = True):
    """Convolution with zeros around, batch norm, ReLU."""
    x = layers.Conv2D(
        filters, kernel_size, strides, "same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if relu else x


def stem(filters: int = 16, shape: tuple[int, ...] = (32, 32, 3)):
    """How most picture networks begin.  -> their input, and maps [B, 16, 16, filters]"""
    pictures = layers.Input(shape)
    return pictures, layers.MaxPooling2D(2)(conv_norm(pictures, filters))


def averaged(pictures, x) -> keras.Model:
    """What most end with: the mean over all places, and the classifier."""
    return keras.Model(pictures, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))
