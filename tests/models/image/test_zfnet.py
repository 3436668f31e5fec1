"""ZFNet: figure 3's sizes and count, pooling before normalisation, filters kept in bounds."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.zfnet import RmsLimit, ZFNet
from models.layers.local_response import LocalResponseNorm

TINY = {"filters": (8, 8, 12, 12, 8), "units": 16}


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Or Keras draws the weights of all that was built by shapes alone, later."""
    yield
    keras.utils.clear_session(free_memory=False)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_count() -> None:
    # conv 14,208 + 614,656 + 885,120 + 1,327,488 + 884,992; fc 37,752,832 + 16,781,312 + 4,097,000
    with keras.StatelessScope(initialize_variables=False):
        network = ZFNet(1000)
        network(keras.KerasTensor((1, 224, 224, 3)))
        assert network.count_params() == 62_357_608
        assert len(network.trainable_variables) == len(network.weights)


def test_sizes_of_figure_3() -> None:
    network = ZFNet(10)
    x = network.pad(keras.KerasTensor((1, 224, 224, 3)))
    convolved, pooled = [], []
    for conv in network.convs:
        convolved.append(conv.conv(x).shape[1])
        x = conv(x)
        pooled.append(x.shape[1])
    assert convolved == [110, 26, 13, 13, 13]
    assert pooled == [55, 13, 13, 13, 6]


def test_pooled_before_normalised() -> None:
    network, x = ZFNet(5, **TINY), random(1, 64, 64, 3) * 100
    network(x)
    first = network.convs[0]
    first.conv.kernel.assign(random(*first.conv.kernel.shape))
    activated = keras.ops.relu(first.conv(x))
    wanted = LocalResponseNorm(2, 2.0, 1e-4, 0.75)(first.pool(activated))
    np.testing.assert_allclose(convert_to_numpy(first(x)), convert_to_numpy(wanted), rtol=1e-5)
    assert [conv.norm is not None for conv in network.convs] == [True, True, False, False, False]
    assert [conv.pool is not None for conv in network.convs] == [True, True, False, False, True]


def test_large_filters_are_scaled_back() -> None:
    kernel = random(3, 3, 4, 2) * np.float32([0.01, 3])
    limited = convert_to_numpy(RmsLimit()(kernel))
    np.testing.assert_allclose(limited[..., 0], kernel[..., 0], rtol=1e-6)
    assert np.sqrt((limited[..., 1] ** 2).mean()) == pytest.approx(0.1, rel=1e-5)
    np.testing.assert_allclose(
        limited[..., 1] / kernel[..., 1], limited[0, 0, 0, 1] / kernel[0, 0, 0, 1], rtol=1e-4
    )


def test_training_keeps_the_limit() -> None:
    network, x = ZFNet(5, **TINY, small_images=True), random(2, 32, 32, 3)
    network.compile(keras.optimizers.SGD(1e3), keras.losses.SparseCategoricalCrossentropy(True))
    network.train_on_batch(x, np.array([0, 1]))
    for conv in network.convs:
        rms = np.sqrt((convert_to_numpy(conv.conv.kernel) ** 2).mean((0, 1, 2)))
        assert np.all(rms < 0.1001)


def test_weights_start_small_and_biases_at_zero() -> None:
    network = ZFNet(5, **TINY)
    network(random(1, 64, 64, 3))
    weighted = [conv.conv for conv in network.convs] + network.head.fc + [network.head.logits]
    for layer in weighted:
        assert not convert_to_numpy(layer.bias).any()
        assert convert_to_numpy(layer.kernel).std() == pytest.approx(0.01, rel=0.3)


def test_small_images() -> None:
    network = ZFNet(10, small_images=True)
    with keras.StatelessScope(initialize_variables=False):
        assert network(keras.KerasTensor((1, 32, 32, 3))).shape == (1, 10)
        assert network.head.fc[0].kernel.shape[1] == 512


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 5)),
        ({"pooling": "avg"}, (1, 5)),
        ({"include_top": False, "pooling": "max"}, (1, 8)),
        ({"include_top": False}, (1, 1, 1, 8)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    assert ZFNet(5, **TINY, **options)(random(1, 64, 64, 3)).shape == shape


def test_round_trip(tmp_path) -> None:
    network, x = ZFNet(5, **TINY, small_images=True), random(2, 32, 32, 3)
    y = convert_to_numpy(network(x))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert again.get_config() == network.get_config()
    np.testing.assert_allclose(convert_to_numpy(again(x)), y, atol=1e-6)
