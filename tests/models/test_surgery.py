"""Networks made into others compute the same: window by window, without batch norm, or anew."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from models.graph import unroll
from models.image.lenet import LeNet5
from models.image.resnet_cifar import ResNetCifar
from models.image.vgg import VGG
from models.layers.block import Block
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.grouped import GroupedConv2D
from models.layers.head import Head
from models.surgery import (
    fold_batch_norm,
    recalibrate_batch_norm,
    stride,
    to_fully_convolutional,
)

SHAPE = (16, 16, 3)
array = ops.convert_to_numpy


@pytest.fixture(autouse=True)
def seed() -> None:
    keras.utils.set_random_seed(5)


class TinyVGG(keras.Model):
    """Two poolings and three fully connected layers: 16x16 pixels become a map of 4x4."""

    def __init__(self, padding: str = "same"):
        super().__init__()
        self.features = [
            layers.Conv2D(6, 3, padding=padding, activation="relu"),
            layers.MaxPooling2D(2),
            ConvNorm(8, 3, padding=padding),
            layers.MaxPooling2D(2),
        ]
        self.flatten = layers.Flatten()
        self.fc = [layers.Dense(12, activation="relu"), layers.Dense(9, use_bias=False)]
        self.dropout = layers.Dropout(0.5)
        self.logits = layers.Dense(5)

    def call(self, images, training=None):
        x = images
        for layer in self.features:
            x = layer(x)
        x = self.flatten(x)
        for layer in self.fc:
            x = 1.5 * ops.tanh(self.dropout(layer(x)))
        return self.logits(x)


class Pieces(Block):
    """All that folds, one after another, and two batch norms that cannot."""

    def __init__(self):
        super().__init__()
        self.conv = ConvNorm(8, 3)
        self.depthwise = DepthwiseNorm(3)
        self.grouped = ConvNorm(8, 3, groups=2, use_bias=True)
        self.multiplied = layers.DepthwiseConv2D(3, depth_multiplier=2)
        self.norms = [layers.BatchNormalization(scale=s, center=c) for s, c in [(0, 1), (1, 0)]]
        self.separable = layers.SeparableConv2D(6, 3)
        self.active = layers.Conv2D(6, 1, activation="relu")
        self.after_relu = layers.BatchNormalization()
        self.read_twice = layers.Conv2D(6, 1)
        self.one_reader = layers.BatchNormalization()

    def call(self, x):
        x = self.grouped(self.depthwise(self.conv(x)))
        x = ops.relu(self.norms[0](self.multiplied(x)))
        x = ops.relu(self.norms[1](self.separable(x)))
        x = self.after_relu(self.active(x))
        y = self.read_twice(x)
        return y + self.one_reader(y)


class Wrapped(keras.Model):
    def __init__(self, features, head):
        super().__init__()
        self.features = features
        self.head = head

    def call(self, x, training=None):
        return self.head(self.features(x))


def built(network: keras.Model, shape=SHAPE) -> keras.Model:
    """With batch-norm statistics and scales as training leaves them, not as it finds them."""
    network(keras.KerasTensor((1, *shape)))
    rng = np.random.default_rng(7)
    for variable in network.variables:
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("moving_mean", "beta", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return network


def pictures(count: int, *size: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, *size)).astype(np.float32)


def windows(network: keras.Model, images: np.ndarray, size: int, step: int) -> np.ndarray:
    """[B, h, w, K]: the network at each place, one after another."""
    rows, columns = (range(0, n - size + 1, step) for n in images.shape[1:3])
    scores = [[network(images[:, y : y + size, x : x + size]) for x in columns] for y in rows]
    return np.stack([np.stack([array(s) for s in row], axis=1) for row in scores], axis=1)


def test_without_padding_it_is_exactly_the_sliding_window() -> None:
    network = built(TinyVGG("valid"))
    dense = to_fully_convolutional(network, SHAPE)
    assert dense.count_params() == network.count_params()
    assert stride(dense, SHAPE) == (4, 4)
    images = pictures(2, 36, 36, 3)
    expected = windows(network, images, size=16, step=4)
    assert expected.shape == (2, 6, 6, 5)  # 36 windows, as of a 384 picture by 224 and 32
    np.testing.assert_allclose(dense(images), expected, atol=1e-4)


def test_with_padding_it_sees_beyond_the_window() -> None:
    network = built(TinyVGG("same"))
    dense = to_fully_convolutional(network, SHAPE)
    images = pictures(2, 36, 36, 3)
    expected = windows(network, images, size=16, step=4)
    off = np.sqrt(np.mean((dense(images) - expected) ** 2) / np.mean(expected**2))
    assert 0.1 < off < 0.6  # 0.19 to 0.49 with six seeds; so much of a small map is its border
    # At the network's own size there is nothing beyond.
    np.testing.assert_allclose(dense(images[:, :16, :16]), expected[:, :1, :1], atol=1e-5)


def test_the_first_fully_connected_layer_is_as_large_as_the_map() -> None:
    dense = to_fully_convolutional(built(TinyVGG()), SHAPE)
    kernels = [layer.kernel.shape for layer in dense.layers if isinstance(layer, layers.Conv2D)]
    assert kernels[-3:] == [(4, 4, 8, 12), (1, 1, 12, 9), (1, 1, 9, 5)]
    assert not any(isinstance(layer, layers.Dense) for layer in dense.layers)
    assert dense(pictures(1, 37, 16, 3)).shape == (1, 6, 1, 5)


def test_its_weights_are_the_networks() -> None:
    network = built(TinyVGG())
    dense = to_fully_convolutional(network, SHAPE)
    assert {id(w) for w in dense.weights} == {id(w) for w in network.weights}
    network.logits.bias.assign(100.0 + network.logits.bias)
    assert array(dense(pictures(1, *SHAPE))).min() > 50


def test_a_tiny_vgg_at_384_over_224() -> None:
    options = {"convs": (1, 1, 1, 1, 1), "filters": 2, "units": 8}
    network = built(VGG(7, **options), (224, 224, 3))
    dense = to_fully_convolutional(network, (224, 224, 3))
    assert dense.compute_output_spec(keras.KerasTensor((1, 384, 384, 3))).shape == (1, 6, 6, 7)
    assert stride(dense, (224, 224, 3)) == (32, 32)
    assert dense.count_params() == network.count_params()


@pytest.mark.parametrize("pooling", ["avg", "max", None])
def test_global_pooling_becomes_pooling_over_windows(pooling) -> None:
    features = ConvNorm(6, 3, stride=3, padding="valid")
    network = built(Wrapped(features, Head(4, pooling, dropout_rate=0.2)))
    dense = to_fully_convolutional(network, SHAPE)
    images = pictures(2, 22, 26, 3)
    expected = windows(network, images, size=16, step=3)
    assert expected.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(dense(images), expected, atol=1e-5)


def test_a_pooled_map_of_classes_needs_no_fully_connected_layer() -> None:
    network = built(Wrapped(layers.Conv2D(7, 3, strides=3), layers.GlobalAveragePooling2D()))
    images = pictures(1, 22, 19, 3)
    dense = to_fully_convolutional(network, SHAPE)
    np.testing.assert_allclose(dense(images), windows(network, images, 16, 3), atol=1e-5)


def test_a_vector_flattened_again_stays_one_at_each_place() -> None:
    class Twice(Block):  # as MobileNet v3's end
        def __init__(self):
            super().__init__()
            self.pool, self.fc = Head(4, include_top=False), layers.Dense(6, activation="relu")
            self.head = Head(4, pooling=None)

        def call(self, x):
            return self.head(self.fc(self.pool(x)))

    network = built(Wrapped(layers.Conv2D(7, 3, strides=3), Twice()))
    images = pictures(1, 22, 19, 3)
    dense = to_fully_convolutional(network, SHAPE)
    np.testing.assert_allclose(dense(images), windows(network, images, 16, 3), atol=1e-5)


def test_flattened_pixels_are_a_map_too() -> None:
    network = built(Wrapped(layers.Flatten(), layers.Dense(3)))
    dense = to_fully_convolutional(network, SHAPE)
    images = pictures(1, 18, 17, 3)
    np.testing.assert_allclose(dense(images), windows(network, images, 16, 1), atol=1e-5)


def test_lenet_reads_a_line_of_digits() -> None:
    network = built(LeNet5(10, modern=True), (32, 32, 1))
    dense = to_fully_convolutional(network, (32, 32, 1))
    assert dense.count_params() == 61_706
    line = pictures(1, 32, 64, 1)
    np.testing.assert_allclose(dense(line), windows(network, line, 32, 4), atol=1e-4)


class Squeezed(Block):
    """A map pooled whole, kept as a map of one position."""

    def __init__(self):
        super().__init__()
        self.pool = layers.GlobalAveragePooling2D(keepdims=True)
        self.conv = layers.Conv2D(4, 1)

    def call(self, x):
        return self.conv(self.pool(x))


class FixedSize(Block):
    """Channels in another order, by a reshape that knows the map's size."""

    def call(self, x):
        y = ops.reshape(ops.flip(x, axis=-1), (-1, *x.shape[1:]))
        return ops.concatenate([x, y], axis=-1)


class Norms(Block):
    """Distances to fixed points, as LeNet-5's last layer has."""

    def call(self, x):
        return ops.norm(ops.expand_dims(x, 1) - np.ones((1, 3, 1), np.float32), axis=-1)


@pytest.mark.parametrize(
    ("features", "head", "reason"),
    [
        (layers.Conv2D(4, 3), layers.Conv2D(4, 1), "only what flattens or pools"),
        (layers.Flatten(), layers.BatchNormalization(), "only what flattens or pools"),
        (layers.Flatten(), Norms(), "only what flattens or pools"),
        (Squeezed(), Head(3, pooling=None), "pools the whole map"),
        (FixedSize(), Head(3), "size written into it"),
    ],
)
def test_what_cannot_slide_says_so(features, head, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        to_fully_convolutional(built(Wrapped(features, head)), SHAPE)


def test_batch_norm_folds_into_the_convolution_before_it() -> None:
    network = built(Wrapped(Pieces(), Head(4)))
    folded = fold_batch_norm(network, SHAPE)
    images = pictures(3, *SHAPE)
    expected = array(network(images, training=False))
    np.testing.assert_allclose(folded(images), expected, atol=1e-5 * np.abs(expected).max())
    left = [layer for layer in folded.layers if isinstance(layer, layers.BatchNormalization)]
    assert left == [network.features.after_relu, network.features.one_reader]
    assert any(isinstance(layer, GroupedConv2D) for layer in folded.layers)


def test_batch_norm_folds_into_dense_and_one_dimension() -> None:
    network = keras.Sequential(
        [
            layers.Input((12, 4)),
            layers.Conv1D(6, 3),
            layers.BatchNormalization(),
            layers.DepthwiseConv1D(3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(5),
            layers.BatchNormalization(),
        ]
    )
    built(network, (12, 4))
    folded = fold_batch_norm(network, (12, 4))
    x = pictures(2, 12, 4)
    np.testing.assert_allclose(folded(x), network(x), atol=1e-5)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)


def test_a_shared_convolution_keeps_its_batch_norms() -> None:
    class Shared(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(4, 3, padding="same")
            self.norms = [layers.BatchNormalization(), layers.BatchNormalization()]
            self.head = Head(2)

        def call(self, x, training=None):
            return self.head(self.norms[0](self.conv(x)) + self.norms[1](self.conv(x[:, ::-1])))

    network = built(Shared())
    x = pictures(2, *SHAPE)
    np.testing.assert_allclose(fold_batch_norm(network, SHAPE)(x), network(x), atol=1e-5)


def test_folding_a_residual_network_leaves_no_batch_norm_and_the_network_as_it_was() -> None:
    network = built(ResNetCifar(10, filters=4, blocks=1), (32, 32, 3))
    images = pictures(2, 32, 32, 3)
    before = array(network(images, training=False))
    folded = fold_batch_norm(network, (32, 32, 3))
    np.testing.assert_allclose(folded(images), before, atol=1e-5 * np.abs(before).max())
    np.testing.assert_array_equal(network(images, training=False), before)
    norms = [x for x in unroll(network, (32, 32, 3)).layers if x.name.startswith("batch_norm")]
    channels = sum(norm.gamma.shape[0] for norm in norms)
    # Four numbers a channel go, and a bias comes.
    assert folded.count_params() == network.count_params() - 3 * channels


class TwoNorms(keras.Model):
    def __init__(self, dropout_rate: float = 0.0):
        super().__init__()
        self.first, self.second = layers.Conv2D(4, 3), layers.Conv2D(5, 3)
        self.norms = [layers.BatchNormalization(), layers.BatchNormalization()]
        self.dropout = layers.Dropout(dropout_rate)
        self.head = Head(3)

    def call(self, x, training=None):
        x = self.dropout(ops.relu(self.norms[0](self.first(x))))
        return self.head(self.norms[1](self.second(x)))


def convolved(x: np.ndarray, conv: layers.Conv2D) -> np.ndarray:
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("bhwcij,ijck->bhwk", patches, array(conv.kernel)) + array(conv.bias)


@pytest.mark.parametrize("dropout_rate", [0.0, 0.9])
def test_recalibrated_statistics_are_numpys(dropout_rate) -> None:
    network = built(TwoNorms(dropout_rate), (6, 6, 2))
    data = [pictures(9, 6, 6, 2)[i : i + 3] * (i + 1) for i in (0, 3, 6)]
    recalibrate_batch_norm(network, iter(data))
    seen = [], []
    for batch in data:
        x = convolved(batch.astype(np.float64), network.first)
        seen[0].append((x.mean((0, 1, 2)), x.var((0, 1, 2), ddof=1)))
        norm = network.norms[0]
        x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + norm.epsilon)
        x = np.maximum(x * array(norm.gamma) + array(norm.beta), 0)
        y = convolved(x, network.second)
        seen[1].append((y.mean((0, 1, 2)), y.var((0, 1, 2), ddof=1)))
    for norm, batches in zip(network.norms, seen, strict=True):
        mean, variance = np.mean(batches, axis=0)
        np.testing.assert_allclose(array(norm.moving_mean), mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(array(norm.moving_variance), variance, rtol=1e-4)


def test_a_short_last_batch_counts_for_less() -> None:
    network = keras.Sequential([layers.Input((3,)), layers.BatchNormalization()])
    data = pictures(7, 3)
    recalibrate_batch_norm(network, [(data[:6], None), (data[6:], None)])
    norm = network.layers[0]
    np.testing.assert_allclose(array(norm.moving_mean), data.mean(0), atol=1e-6)
    # A batch of one number a channel says nothing of the variance.
    np.testing.assert_allclose(array(norm.moving_variance), data[:6].var(0, ddof=1), rtol=1e-5)


def test_recalibration_brings_a_ruined_network_back() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = rng.normal(0, 0.5, (96, 8, 8, 3)).astype(np.float32)
    images[np.arange(96), :, :, labels] += 0.5
    network = ResNetCifar(3, filters=4, blocks=1)
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.optimizer.learning_rate = 0.02
    network.fit(images, labels, batch_size=32, epochs=6, verbose=0)

    def accuracy():
        return np.mean(np.argmax(network(images, training=False), axis=-1) == labels)

    trained = accuracy()
    weights = [array(v) for v in network.trainable_variables]
    for variable in network.non_trainable_variables:
        if variable.name in ("moving_mean", "moving_variance"):
            variable.assign(rng.uniform(1, 50, variable.shape))
    ruined = accuracy()
    recalibrate_batch_norm(network, [images[i : i + 32] for i in (0, 32, 64)])
    assert ruined < 0.6 < 0.9 < trained
    assert accuracy() >= trained - 0.05
    for before, now in zip(weights, network.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, array(now))


def test_recalibration_says_what_it_lacks() -> None:
    network = keras.Sequential([layers.Input((3,)), layers.BatchNormalization()])
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate_batch_norm(network, [])
    with pytest.raises(ValueError, match="larger batches"):
        recalibrate_batch_norm(network, [pictures(1, 3)])
    recalibrate_batch_norm(built(Wrapped(layers.Conv2D(2, 3), Head(2))), [pictures(1, *SHAPE)])
