"""Optimisers: their formulas by hand, and Keras's own where the convention is the same."""

import keras
import numpy as np
import pytest

from models.reference.optimisers import adam, momentum, nesterov, rmsprop, sgd
from tests.models.reference.checks import random

RATES = (0.1, 0.1, 0.01, 0.01)  # it falls mid-run
KERAS = [
    (sgd, keras.optimizers.SGD),
    (lambda: momentum(0.8), lambda rate: keras.optimizers.SGD(rate, momentum=0.8)),
    (lambda: nesterov(0.8), lambda rate: keras.optimizers.SGD(rate, momentum=0.8, nesterov=True)),
    # Where the gradients are far larger than epsilon, it does not matter where that stands.
    (lambda: rmsprop(0.9, 1e-7), keras.optimizers.RMSprop),
    (lambda: adam(epsilon=1e-7), keras.optimizers.Adam),
]


@pytest.mark.parametrize(("ours", "theirs"), KERAS)
def test_row_022_equal_to_keras(ours, theirs) -> None:
    w, step = random(4), ours()
    variable = keras.Variable(w, dtype="float64")
    optimiser = theirs(RATES[0])
    optimiser.build([variable])
    for number, rate in enumerate(RATES):
        gradient = 100 * (1 + np.abs(random(4, seed=number)))
        w = step(w, gradient, rate)
        optimiser.learning_rate.assign(rate)
        optimiser.apply([keras.ops.convert_to_tensor(gradient)])
        # A step is 0.01 at least; Keras has 1 - 0.999 in float32, which is 1e-5 off.
        np.testing.assert_allclose(np.asarray(variable.value), w, rtol=1e-6, atol=2e-6)


def test_row_022_sgd() -> None:
    np.testing.assert_allclose(sgd()(np.array([1.0]), np.array([4.0]), 0.1), [0.6])


def test_row_023_two_conventions_of_momentum_part_when_the_rate_changes() -> None:
    """PyTorch's v = mu v + dw; w -= rate v."""
    w = theirs = np.array([1.0])
    step, v = momentum(0.9), 0.0
    apart = []
    for rate in RATES:
        dw = np.array([2.0])
        w = step(w, dw, rate)
        v = 0.9 * v + dw
        theirs = theirs - rate * v
        apart.append(abs(float(w[0] - theirs[0])))
    assert max(apart[:2]) < 1e-12
    assert apart[2] > 0.1


def test_row_023_momentum_by_hand() -> None:
    step, dw = momentum(0.9), np.array([1.0])
    w = step(np.array([0.0]), dw, 0.1)
    assert w[0] == pytest.approx(-0.1)
    assert step(w, dw, 0.1)[0] == pytest.approx(-0.1 - 0.19)


def test_row_024_rmsprop_by_hand_and_where_keras_puts_epsilon() -> None:
    dw = np.array([3.0])
    w = rmsprop(0.99, 1e-8)(np.array([0.0]), dw, 0.1)
    assert w[0] == pytest.approx(-0.1 * 3 / (np.sqrt(0.01 * 9) + 1e-8))
    # To a tiny gradient's root epsilon is little, and to its square it is all.
    tiny = np.array([1e-6])
    outside = rmsprop(0.9, 1e-7)(np.array([0.0]), tiny, 0.1)
    variable = keras.Variable(np.zeros(1))
    keras.optimizers.RMSprop(0.1).apply([keras.ops.convert_to_tensor(tiny, "float32")], [variable])
    under = -0.1 * 1e-6 / np.sqrt(0.1 * 1e-12 + 1e-7)
    np.testing.assert_allclose(np.asarray(variable.value), [under], rtol=1e-4)
    assert outside[0] < 100 * under


def test_row_025_the_first_step_of_adam_is_the_rate_whatever_the_gradient() -> None:
    """What is divided by 1 - beta^t makes it so; without, it would be a third of it."""
    for size in (1e-3, 1.0, 1e3):
        w = adam()(np.zeros(2), np.array([size, -size]), 0.1)
        np.testing.assert_allclose(w, [-0.1, 0.1], rtol=1e-4)
    step, w = adam(0.9, 0.999), np.zeros(1)
    for dw in (1.0, -2.0):
        w = step(w, np.array([dw]), 0.1)
    m, v = 0.9 * 0.1 - 0.1 * 2, 0.999 * 0.001 + 0.001 * 4
    second = -0.1 * (m / (1 - 0.9**2)) / (np.sqrt(v / (1 - 0.999**2)) + 1e-8)
    assert w[0] == pytest.approx(-0.1 + second, rel=1e-6)
