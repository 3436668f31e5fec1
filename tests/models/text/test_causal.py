"""Causal networks: what a position sees of the words before it, by the gradient's support."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import models
from models.catalogue import priced
from models.geometry import Field
from models.layers.causal import CausalResidual
from models.layers.gating import GatedConv1D

LENGTH = 80


def support(stack: list[keras.layers.Layer], position: int) -> list[int]:
    """Positions of the input that the output at `position` depends on."""
    x = tf.Variable(tf.random.normal((1, LENGTH, 3), seed=0))
    with tf.GradientTape() as tape:
        y = x
        for layer in stack:
            y = layer(y)
        output = tf.reduce_sum(y[:, position] ** 2)
    slope = np.abs(tape.gradient(output, x).numpy()).sum(axis=(0, 2))
    return np.flatnonzero(slope).tolist()


@pytest.mark.parametrize(("kernel_size", "blocks"), [(2, 1), (2, 4), (3, 3), (4, 2)])
def test_a_tcn_sees_1_and_2_k_1_2_to_the_n_1(kernel_size, blocks) -> None:
    """Bai 2018, section 3.2, with two convolutions a block."""
    keras.utils.set_random_seed(0)
    network = models.create_model(
        "tcn", 3, vocabulary_size=9, filters=16, blocks=blocks, kernel_size=kernel_size
    )
    field = 1 + 2 * (kernel_size - 1) * (2**blocks - 1)
    assert support(network.stages, LENGTH - 1) == [*range(LENGTH - field, LENGTH)]
    assert max(support(network.stages, 20)) == 20


def test_the_field_that_is_told_is_the_one_that_gradients_have() -> None:
    told = [step.fields[0] for step in priced("tcn").steps if step.name == "relu"]
    assert told[-1] == Field(size=61, stride=1, start=-60)


def test_dilated_taps_are_d_apart() -> None:
    """Two convolutions of width 2 with dilation 4: t, t - 4 and t - 8."""
    keras.utils.set_random_seed(0)
    assert support([CausalResidual(16, 2, dilation=4)], 30) == [22, 26, 30]


@pytest.mark.parametrize("gate", ["glu", "gtu"])
def test_gated_layers_see_k_1_words_more_each(gate) -> None:
    keras.utils.set_random_seed(0)
    network = models.create_model("gated_cnn", 3, vocabulary_size=9, filters=8, gate=gate)
    assert support(network.convs, 40) == [*range(40 - 4 * 3, 41)]


def test_a_gated_layer_may_look_both_ways() -> None:
    assert support([GatedConv1D(4, 5, dilation=2, padding="same")], 40) == [36, 38, 40, 42, 44]
