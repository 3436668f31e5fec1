"""Style transfer: the paper's equations, and pictures whose best answer is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipelines.explain.average_pooling import average_pooling
from pipelines.explain.canvas import painted
from pipelines.explain.style_transfer import (
    content_loss,
    gram_matrix,
    style_loss,
    style_transfer,
)

RNG = np.random.default_rng(0)


def maps(height: int, width: int, filters: int = 5) -> tf.Tensor:
    return tf.constant(RNG.normal(size=(1, height, width, filters)), tf.float32)


def identity(picture: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"pixels": picture}


def test_row_163_gram_matrices_sum_products_of_filters_over_places() -> None:
    output = maps(6, 7)
    wanted = np.einsum("byxi,byxj->ij", output, output)
    np.testing.assert_allclose(gram_matrix(output), wanted, rtol=1e-4, atol=1e-4)


def test_row_163_losses_and_gradients_are_the_papers() -> None:
    output, wanted = maps(6, 7), maps(6, 7)
    n, m = 5, 42
    flat, other = (tf.reshape(x, (m, n)).numpy().T for x in (output, wanted))  # F, N x M
    difference = flat @ flat.T - other @ other.T  # G - A
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(output)
        style, content = style_loss(output, wanted), content_loss(output, wanted)
    assert float(style) == pytest.approx((difference**2).sum() / (4 * n**2 * m**2), rel=1e-4)
    assert float(content) == pytest.approx(((flat - other) ** 2).sum() / 2, rel=1e-4)
    by_paper = (flat.T @ difference).T / (n**2 * m**2)  # equation 6, where F > 0
    gradient = tf.reshape(tape.gradient(style, output), (m, n)).numpy().T
    np.testing.assert_allclose(gradient, by_paper, rtol=1e-3, atol=1e-6)
    gradient = tf.reshape(tape.gradient(content, output), (m, n)).numpy().T
    np.testing.assert_allclose(gradient, flat - other, rtol=1e-4, atol=1e-5)  # equation 2


def test_style_does_not_depend_on_where_or_on_how_large() -> None:
    output = maps(6, 7)
    shuffled = tf.gather(tf.reshape(output, (1, 42, 1, 5)), RNG.permutation(42), axis=1)
    twice = tf.concat([output, output], axis=1)
    assert float(style_loss(shuffled, output)) == pytest.approx(0, abs=1e-9)
    assert float(style_loss(twice, output)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("optimizer", ["l-bfgs", "adam"])
def test_row_163_content_alone_finds_the_content(optimizer) -> None:
    """It minimises: the least loss of all is 0, and at the picture itself."""
    content, start = RNG.uniform(size=(2, 6, 7, 3)).astype(np.float32)
    done = style_transfer(
        identity,
        content,
        start,
        ["pixels"],
        ["pixels"],
        beta=0.0,
        optimizer=optimizer,
        steps=150,
        start=start,
    )
    np.testing.assert_allclose(done.picture, content, atol=0.01)
    assert done.losses[-1] < 1e-2 * done.losses[0]


@pytest.mark.parametrize("optimizer", ["l-bfgs", "adam"])
def test_row_163_style_alone_finds_a_picture_of_that_style(optimizer) -> None:
    content, style = RNG.uniform(size=(2, 6, 7, 3)).astype(np.float32) * [[[[1]]], [[[0.5]]]]
    done = style_transfer(
        identity,
        content,
        style,
        ["pixels"],
        ["pixels"],
        alpha=0.0,
        optimizer=optimizer,
        steps=150,
    )
    found, wanted = (gram_matrix(x[None].astype(np.float32)) for x in (done.picture, style))
    np.testing.assert_allclose(found, wanted, rtol=0.1)
    assert 0 <= done.picture.min() <= done.picture.max() <= 1


def test_total_variation_makes_it_plain() -> None:
    content, style = RNG.uniform(size=(2, 8, 8, 1)).astype(np.float32)
    rough, plain = (
        style_transfer(
            identity,
            content,
            style,
            ["pixels"],
            ["pixels"],
            beta=0.0,
            total_variation=weight,
            steps=60,
        ).picture
        for weight in (0.0, 2.0)
    )
    rough, plain = (tf.image.total_variation(tf.constant(x)) for x in (rough, plain))
    assert float(plain) < 0.3 * float(rough)


def test_average_pooling_keeps_the_rest() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    conv = layers.Conv2D(3, 3, padding="same")
    model = keras.Model(image, layers.MaxPooling2D((2, 4))(conv(image)))
    picture = RNG.uniform(size=(1, 8, 8, 1)).astype(np.float32)
    maps = conv(picture).numpy()
    wanted = maps.reshape(1, 4, 2, 2, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(average_pooling(model)(picture), wanted, rtol=1e-5, atol=1e-6)
    seen = painted(model, {"maps": model.output}, average_pool=True)(picture)["maps"]
    np.testing.assert_allclose(seen, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model(picture), maps.reshape(1, 4, 2, 2, 4, 3).max(axis=(2, 4)))


def test_a_network_that_was_made_for_another_size_sees_both() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    low = layers.Conv2D(4, 3, activation="relu")(image)
    model = keras.Model(image, layers.Conv2D(4, 3)(layers.MaxPooling2D(2)(low)))
    features = painted(model, {"low": low, "high": model.output}, size=(None, None))
    content, style = RNG.uniform(size=(20, 24, 3)), RNG.uniform(size=(16, 12, 3))
    done = style_transfer(features, content, style, ["high"], ["low"], steps=20)
    assert done.picture.shape == (20, 24, 3)
    assert done.losses[-1] < done.losses[0]


def test_what_cannot_be_is_refused() -> None:
    picture = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(ValueError, match="'l-bfgs' or 'adam', not 'sgd'"):
        style_transfer(identity, picture, picture, ["pixels"], ["pixels"], optimizer="sgd")
    with pytest.raises(ValueError, match="at least one layer"):
        style_transfer(identity, picture, picture, [], ["pixels"])
