"""Footprints against the arithmetic of models/receptive.py, and a Gaussian that is known."""

import keras
import numpy as np
import pytest
from keras import layers

from models.graph import steps
from models.receptive import receptive_fields
from pipelines.explain.average_pooling import average_pooling
from pipelines.explain.receptive_field import effective, footprint, spread

SHAPE = (40, 36, 2)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = image = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="relu")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = layers.Conv2D(6, (3, 2), dilation_rate=(2, 1), activation="relu")(x)
    return keras.Model(image, layers.MaxPooling2D(2)(x))


def analytic(model: keras.Model, position: tuple[int, int]) -> np.ndarray:
    done = steps(model)
    rows, columns = receptive_fields(done)[id(done[-1].output)]
    field = np.zeros(SHAPE[:2], bool)
    field[np.ix_(rows.at(position[0]), columns.at(position[1]))] = True
    return field


def examples(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *SHAPE)).astype(np.float32)


def test_many_inputs_together_show_all_of_the_field(network: keras.Model) -> None:
    position = (2, 3)
    seen = footprint(network, examples(400), position)
    np.testing.assert_array_equal(seen, analytic(network, position))


def test_one_input_hides_a_part_and_averages_hide_less(network: keras.Model) -> None:
    position = (2, 3)
    field = analytic(network, position)
    one = footprint(network, examples(1), position)
    averaged = footprint(average_pooling(network), examples(1), position)
    assert not (one & ~field).any()
    assert one.sum() < averaged.sum() <= field.sum()


@pytest.mark.parametrize("count", [2, 6, 12])
def test_the_effective_field_grows_with_the_root_of_the_layers(count: int) -> None:
    """A uniform kernel of 3 has the variance 2/3, and variances add up (Luo 2016, section 2.2)."""
    x = image = keras.Input((31, 33, 1))
    for _ in range(count):
        x = layers.Conv2D(1, 3, padding="same", kernel_initializer="ones", use_bias=False)(x)
    shares = effective(keras.Model(image, x), np.zeros((1, 31, 33, 1), np.float32), (15, 16))
    assert shares.sum() == pytest.approx(1)
    assert spread(shares) == pytest.approx([(count * 2 / 3) ** 0.5] * 2, rel=1e-4)
