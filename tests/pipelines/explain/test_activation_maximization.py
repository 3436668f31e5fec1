"""What excites a unit most, where it is known; and a digit network that is fooled."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from pipelines.explain.activation_maximization import activation_maximization, degree
from pipelines.explain.input_modifiers import Jitter
from pipelines.explain.parametrisation import Fourier
from pipelines.explain.regularizers import L1


@pytest.fixture(scope="module")
def lecture() -> keras.Model:
    """28x28 -> 25 maps of 13x13 -> 50 of 11x11."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((28, 28, 1))
    x = layers.MaxPooling2D(2)(layers.Conv2D(25, 3, activation="relu")(x))
    return keras.Model(image, layers.Conv2D(50, 3)(x))


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's digits, and a network that knows them.  [N, 8, 8, 1] within [0, 1], [N]"""
    images, class_ids = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, activation="relu")(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(10)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images[:1500], class_ids[:1500], 64, epochs=12, verbose=0)
    answers = model.predict_on_batch(images[1500:]).argmax(axis=1)
    assert np.mean(answers == class_ids[1500:]) > 0.9
    return model, images, class_ids


def scores(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Of class k for input k, as they are when saved in eight bits."""
    stored = (np.round(inputs * 255) / 255).astype(np.float32)
    return np.diag(keras.ops.softmax(model.predict_on_batch(stored)))


def test_row_156_the_degree_of_activation_is_the_sum_over_the_map() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 11, 11, 50)).astype(np.float32)
    wanted = [maps[0, :, :, 7].sum(), maps[1, :, :, 49].sum(), maps[2, :, :, 0].sum()]
    np.testing.assert_allclose(degree(tf.constant(maps), [7, 49, 0]), wanted, rtol=1e-4)


def test_row_157_ascent_rises_and_beats_a_thousand_random_inputs(lecture: keras.Model) -> None:
    weights = [weight.numpy() for weight in lecture.weights]
    found = activation_maximization(lecture, range(50), steps=15, step_size=0.2)
    before, after = found.history[:, 0], found.history[:, 1]
    assert (after >= before).all()
    np.testing.assert_array_equal(before[1:], after[:-1])
    noise = np.random.default_rng(0).uniform(size=(1000, 28, 28, 1)).astype(np.float32)
    best = lecture.predict(noise, verbose=0).sum(axis=(1, 2)).max(axis=0)
    assert (found.activations > best).all()
    assert found.inputs.min() >= 0 <= 1 <= found.inputs.max() <= 1
    for weight, kept in zip(lecture.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), kept)


def test_a_step_is_judged_by_its_own_draw(lecture: keras.Model) -> None:
    found = activation_maximization(lecture, [3], steps=8, input_modifiers=[Jitter(4)])
    assert (found.history[:, 1] >= found.history[:, 0]).all()


def test_row_159_the_best_input_of_a_neuron_is_where_its_weights_are_positive() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 5, 2))
    dense = layers.Dense(4)
    model = keras.Model(image, dense(layers.Flatten()(image)))
    found = activation_maximization(model, range(4), steps=30, step_size=0.3)
    kernel = dense.kernel.numpy().T.reshape(4, 6, 5, 2)
    np.testing.assert_array_equal(found.inputs, kernel > 0)
    np.testing.assert_allclose(found.activations, kernel.clip(0).sum((1, 2, 3)), rtol=1e-5)


def test_l1_leaves_only_what_is_worth_more_than_it_costs() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 5, 2))
    dense = layers.Dense(4)
    model = keras.Model(image, dense(layers.Flatten()(image)))
    cost = 0.15
    found = activation_maximization(
        model, range(4), steps=30, step_size=0.3, regularizers=[L1(cost)]
    )
    kernel = dense.kernel.numpy().T.reshape(4, 6, 5, 2)
    np.testing.assert_array_equal(found.inputs, kernel > cost)


def test_row_160_without_constraints_the_network_is_fooled(digits) -> None:
    model, images, class_ids = digits
    found = activation_maximization(model, range(10), steps=60)
    assert (scores(model, found.inputs) > 0.99).all()
    # The judge: no digit that there is lies as far from the nearest other one.
    judge = KNeighborsClassifier(1).fit(images.reshape(len(images), -1), class_ids)
    distances, _ = judge.kneighbors(found.inputs.reshape(10, -1))
    apart, _ = judge.kneighbors(images.reshape(len(images), -1), n_neighbors=2)
    assert distances.min() > apart[:, 1].max()


def test_row_161_with_few_pixels_it_is_still_sure_and_there_is_more_to_see(digits) -> None:
    model, images, class_ids = digits
    free = activation_maximization(model, range(10), steps=60)
    few = activation_maximization(model, range(10), steps=60, regularizers=[L1(0.5)])
    assert (scores(model, few.inputs) > 0.9).all()
    dark = [np.mean(each.inputs < 1 / 255, axis=(1, 2, 3)) for each in (free, few)]
    assert (dark[1] > dark[0]).all()
    judge = KNeighborsClassifier(1).fit(images.reshape(len(images), -1), class_ids)
    far, near = (judge.kneighbors(x.inputs.reshape(10, -1))[0].mean() for x in (free, few))
    assert near < far
    assert np.mean(judge.predict(few.inputs.reshape(10, -1)) == range(10)) >= 0.8


def test_waves_excite_a_filter_too(lecture: keras.Model) -> None:
    found = activation_maximization(lecture, [0, 9], steps=15, parametrisation=Fourier())
    assert (found.history[-1, 1] > found.history[0, 0]).all()
    assert found.inputs.shape == (2, 28, 28, 1)
    assert 0 < found.inputs.min() < found.inputs.max() < 1


def test_what_cannot_be_is_refused(lecture: keras.Model) -> None:
    with pytest.raises(ValueError, match="no unit 50: the layer has 0 to 49"):
        activation_maximization(lecture, [50])
    with pytest.raises(ValueError, match="leave the parametrisation out"):
        activation_maximization(
            lecture, [0], seed_input=np.zeros((28, 28, 1)), parametrisation=Fourier()
        )
