"""Network in network: the count, a small network at each place, a map per class."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.nin import NIN, MapPerClass, MlpConv

TINY = {"rows": ((5, (6, 5, 4)), (3, (6, 6)))}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_count() -> None:
    # 14,592 + 30,880 + 15,456; 460,992 + 37,056 + 37,056; 331,968 + 37,056 + 1,930
    network = NIN(10)
    network(keras.KerasTensor((1, 32, 32, 3)))
    assert network.count_params() == 966_986
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == 966_986
    # a map per class: 192 K + K
    network = NIN(100)
    network(keras.KerasTensor((1, 32, 32, 3)))
    assert network.count_params() == 966_986 + 90 * 193


def test_sizes() -> None:
    network = NIN(10, include_top=False, pooling=None)
    assert network(keras.KerasTensor((1, 32, 32, 3))).shape == (1, 8, 8, 192)
    assert network.pools[0](keras.KerasTensor((1, 32, 32, 96))).shape == (1, 16, 16, 96)


def test_an_mlpconv_is_a_small_network_at_each_place() -> None:
    layer, x = MlpConv(3, (6, 5, 4)), random(1, 5, 7, 2)
    y = convert_to_numpy(layer(x))
    for conv in layer.convs:
        conv.bias.assign(0.1 * random(conv.filters))
    y = convert_to_numpy(layer(x))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for i, j in np.ndindex(5, 7):
        values = padded[0, i : i + 3, j : j + 3].ravel()
        for conv in layer.convs:
            kernel = convert_to_numpy(conv.kernel).reshape(-1, conv.filters)
            values = np.maximum(values @ kernel + convert_to_numpy(conv.bias), 0)
        np.testing.assert_allclose(y[0, i, j], values, atol=1e-5)


def test_logits_are_the_means_of_maps_after_relu() -> None:
    layer, x = MapPerClass(3), random(2, 4, 5, 6)
    layer(x)
    layer.conv.bias.assign([-99, 0, 1])
    maps = np.maximum(
        x @ convert_to_numpy(layer.conv.kernel)[0, 0] + convert_to_numpy(layer.conv.bias), 0
    )
    logits = convert_to_numpy(layer(x))
    np.testing.assert_allclose(logits, maps.mean((1, 2)), atol=1e-5)
    assert np.all(logits[:, 0] == 0)


def test_dropout_after_all_mlpconvs_but_the_last() -> None:
    network, x = NIN(5, **TINY), random(1, 16, 16, 3)
    assert [dropout.rate for dropout in NIN(5).dropouts] == [0.5, 0.5]
    assert len(network.dropouts) == 1
    answers = [convert_to_numpy(network(x, training=flag)) for flag in (False, False, True)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.allclose(answers[0], answers[2])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 5)),
        ({"pooling": "max"}, (1, 5)),
        ({"pooling": None}, (1, 5)),
        ({"include_top": False}, (1, 6)),
        ({"include_top": False, "pooling": None}, (1, 8, 6, 6)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    assert NIN(5, **TINY, **options)(random(1, 16, 12, 3)).shape == shape
    with pytest.raises(ValueError, match="pooling must be"):
        NIN(5, **TINY, pooling="mean")


def test_round_trip(tmp_path) -> None:
    network, x = NIN(5, **TINY), random(2, 16, 16, 3)
    y = convert_to_numpy(network(x))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert again.get_config() == network.get_config()
    np.testing.assert_allclose(convert_to_numpy(again(x)), y, atol=1e-6)
