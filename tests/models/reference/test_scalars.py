"""Affine layers, activations, normalisation across channels, losses: gradients, and Keras's."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from models.layers.local_response import LocalResponseNorm
from models.reference import activations
from models.reference.affine import affine
from models.reference.local_response import local_response_norm
from models.reference.losses import softmax_loss, svm_loss, weight_decay
from models.reference.numeric import numeric_gradient, relative_error
from tests.models.reference.checks import (
    GRADIENT_ERROR,
    assert_close,
    assert_gradients,
    assert_same,
    random,
)

# Ours and Keras's name.
ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "hard_sigmoid": "hard_sigmoid",
    "hard_swish": "hard_silu",
    "swish": "silu",
    "softmax": "softmax",
}


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2, 2)])
def test_row_019_affine_gradients(shape: tuple[int, ...]) -> None:
    inputs = int(np.prod(shape[1:]))
    assert_gradients(affine, random(*shape), random(inputs, 5, seed=1), random(5, seed=2))


def test_row_004_a_fully_connected_layer_is_a_product_and_a_bias() -> None:
    assert_same(layers.Dense(5, dtype="float64"), affine, random(3, 4))
    x, weights, bias = random(3, 4), random(4, 5), random(5)
    np.testing.assert_allclose(
        affine(x, weights, bias)[0], np.einsum("bi,io->bo", x, weights) + bias
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_row_019_activations(name: str) -> None:
    function = getattr(activations, name)
    x = 4 * random(5, 7)
    assert_gradients(function, x)
    assert_same(layers.Activation(ACTIVATIONS[name], dtype="float64"), function, x)


def test_row_106_the_derivative_of_relu_at_0_is_0() -> None:
    _, back = activations.relu(np.zeros(3))
    np.testing.assert_array_equal(back(np.ones(3)), 0)
    x = tf.zeros(3)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras.ops.relu(x)
    np.testing.assert_array_equal(tape.gradient(y, x), 0)


def test_row_021_a_combination_of_layers() -> None:
    def affine_relu(x, weights, bias):
        a, affine_back = affine(x, weights, bias)
        y, relu_back = activations.relu(a)
        return y, lambda dy: affine_back(relu_back(dy))

    arguments = random(3, 2, 2), random(4, 5, seed=1), random(5, seed=2)
    assert_gradients(affine_relu, *arguments)
    assert_same(layers.Dense(5, "relu", dtype="float64"), affine_relu, random(3, 4))


@pytest.mark.parametrize("radius", [0, 1, 2, 9])
def test_row_108_local_response(radius: int) -> None:
    options = {"bias": 2.0, "alpha": 0.1, "beta": 0.75}
    x = 3 * random(2, 2, 3, 6)
    reference = partial(local_response_norm, radius=radius, **options)
    assert_gradients(reference, x)
    assert_same(LocalResponseNorm(radius, **options), reference, x, tolerance=2e-6)
    # Channels alone: another position is another story.
    moved = x.copy()
    moved[:, 0] *= 5
    np.testing.assert_array_equal(reference(moved)[0][:, 1], reference(x)[0][:, 1])


@pytest.mark.parametrize("loss", [softmax_loss, svm_loss])
def test_row_020_loss_gradients(loss) -> None:
    scores, labels = random(5, 4), np.array([0, 3, 1, 1, 2])
    _, gradient = loss(scores, labels)
    numeric = numeric_gradient(lambda s: loss(s, labels)[0], scores)
    assert relative_error(gradient, numeric) < GRADIENT_ERROR


@pytest.mark.parametrize("classes", [2, 10])
def test_row_020_losses_where_all_scores_are_equal(classes: int) -> None:
    scores, labels = np.full((7, classes), 3.0), np.arange(7) % classes
    assert softmax_loss(scores, labels)[0] == pytest.approx(np.log(classes))
    assert svm_loss(scores, labels)[0] == pytest.approx(classes - 1)


def test_row_020_the_softmax_loss_is_keras_and_bears_large_scores() -> None:
    scores, labels = 1000 * random(6, 4), np.array([0, 3, 1, 1, 2, 0])
    loss, gradient = softmax_loss(scores, labels)
    watched = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, watched)
    assert_close(theirs, loss, 1e-6)
    assert_close(tape.gradient(theirs, watched), gradient, 1e-6)


def test_row_020_the_svm_loss_of_two_classes_is_keras_hinge() -> None:
    scores, labels = random(6, 2), np.array([0, 1, 1, 0, 1, 0])
    theirs = keras.losses.Hinge()(labels[:, np.newaxis], scores[:, 1:] - scores[:, :1])
    assert svm_loss(scores, labels)[0] == pytest.approx(float(theirs), rel=1e-6)
    # Of three, what each wrong class has too much is summed: 1.5 and none.
    assert svm_loss(np.array([[3.0, 2.5, 0.0]]), np.array([1]))[0] == pytest.approx(1.5)


def test_row_026_weight_decay_has_a_half_that_keras_has_not() -> None:
    weights = random(4, 3)
    loss, gradient = weight_decay(weights, 0.3)
    assert loss == pytest.approx(float(keras.regularizers.L2(0.15)(weights)), rel=1e-6)
    numeric = numeric_gradient(lambda w: weight_decay(w, 0.3)[0], weights)
    assert relative_error(gradient, numeric) < GRADIENT_ERROR
    np.testing.assert_allclose(gradient, 0.3 * weights)
