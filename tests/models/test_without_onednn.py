"""TensorFlow has no oneDNN where someone leaves it out, and on some machines by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.audio.bc_resnet import BroadcastBlock
from models.layers.grouped import GroupedConv2D

ROOT = Path(__file__).parents[2]


def steps() -> list[list[float]]:
    """Outputs and gradients of graphs, where convolution, bias, activation are one operation."""
    keras.utils.set_random_seed(0)
    grouped = GroupedConv2D(4, 3, padding="same", groups=2, activation="relu")
    block = BroadcastBlock(2, stride=2, dilation=2, transition=True)
    return [*_step(grouped, (2, 6, 5, 4)), *_step(block, (2, 6, 20, 1))]


def _step(network: keras.Layer, shape: tuple[int, ...]) -> list[list[float]]:
    network.build(shape)
    x = tf.constant(np.random.default_rng(0).standard_normal(shape).astype(np.float32))

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            y = network(x)
            loss = tf.reduce_sum(y**2)
        return [y, *tape.gradient(loss, network.trainable_variables)]

    return [np.ravel(array).tolist() for array in step()]


def test_row_080_networks_in_groups_train_without_onednn_as_with_it() -> None:
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for without, with_ in zip(json.loads(done.stdout), steps(), strict=True):
        np.testing.assert_allclose(without, with_, rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    print(json.dumps(steps()))
