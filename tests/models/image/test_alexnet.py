"""AlexNet: counts, 55x55, two towers, the paper's normalisation and where it stands."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.alexnet import AlexNet
from models.layers.local_response import LocalResponseNorm

TINY = {"filters": (8, 8, 12, 12, 8), "units": 16}


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Or Keras draws the weights of all that was built by shapes alone, later."""
    yield
    keras.utils.clear_session(free_memory=False)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def counted(shape: tuple[int, ...] = (1, 224, 224, 3), **options) -> int:
    with keras.StatelessScope(initialize_variables=False):
        network = AlexNet(**{"num_classes": 1000, **options})
        network(keras.KerasTensor(shape))
        return network.count_params()


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # convolutions 34,944 + 307,456 + 885,120 + 663,936 + 442,624,
        # fully connected 37,752,832 + 16,781,312 + 4,097,000
        ({}, 60_965_224),
        ({"one_tower": True}, 61_100_840),
        # without groups: conv2, conv4 and conv5 have twice the weights
        ({"one_tower": True, "filters": (96, 256, 384, 384, 256)}, 62_378_344),
    ],
)
def test_counts(options: dict, count: int) -> None:
    assert counted(**options) == count


@pytest.mark.parametrize(("size", "padding"), [(224, 2), (227, 0)])
@pytest.mark.parametrize("one_tower", [False, True])
def test_sizes(size: int, padding: int, one_tower: bool) -> None:
    network = AlexNet(10, one_tower=one_tower, stem_padding=padding)
    x = network.pad(keras.KerasTensor((1, size, size, 3)))
    assert network.convs[0].conv(x).shape[1:3] == (55, 55)
    sides = []
    for conv in network.convs:
        x = conv(x)
        sides.append(x.shape[1])
    assert sides == [27, 13, 13, 13, 6]


def test_neurons_of_section_3_5() -> None:
    """ "253,440-186,624-64,896-64,896-43,264": the first is 290,400, as 55*55*96."""
    network = AlexNet(10)
    x, neurons = network.pad(keras.KerasTensor((1, 224, 224, 3))), []
    for conv in network.convs:
        neurons.append(int(np.prod(conv.conv(x).shape)))
        x = conv(x)
    assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264]


def test_towers_meet_in_conv3_alone() -> None:
    network = AlexNet(5, **TINY)
    network(random(1, 67, 67, 3))
    meets = []
    for conv in network.convs[1:]:
        x = random(1, 13, 13, conv.conv.kernel.shape[2] * conv.conv.groups)
        half = x.shape[-1] // 2
        y = convert_to_numpy(conv.conv(x))
        x[..., half:] = 0
        left = np.s_[..., : y.shape[-1] // 2]
        meets.append(not np.allclose(y[left], convert_to_numpy(conv.conv(x))[left], atol=1e-6))
    assert meets == [False, True, False, False]
    assert [conv.conv.groups for conv in AlexNet(5, one_tower=True).convs] == [1] * 5


def test_local_response_as_in_section_3_3() -> None:
    """b_i = a_i / (k + alpha * sum of a_j^2)^beta, j from i - n/2 to i + n/2; alpha isn't / n."""
    a = 100 * random(2, 3, 2, 9)
    layer = LocalResponseNorm()
    b = np.empty_like(a)
    for i in range(9):
        squares = (a[..., max(0, i - 2) : i + 3] ** 2).sum(-1)
        b[..., i] = a[..., i] / (2 + 1e-4 * squares) ** 0.75
    np.testing.assert_allclose(convert_to_numpy(layer(a)), b, rtol=1e-4)
    again = LocalResponseNorm.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert layer.compute_output_shape((None, 3, 2, 9)) == (None, 3, 2, 9)


def test_normalised_before_pooled() -> None:
    network = AlexNet(5, **TINY)
    x = random(1, 67, 67, 3) * 100
    network(x)
    first = network.convs[0]
    first.conv.kernel.assign(random(*first.conv.kernel.shape))
    activated = keras.ops.relu(first.conv(x))
    assert np.abs(activated).max() > 1000  # so that normalising shows
    wanted = convert_to_numpy(first.pool(LocalResponseNorm(2, 2.0, 1e-4, 0.75)(activated)))
    np.testing.assert_allclose(convert_to_numpy(first(x)), wanted, rtol=1e-5)
    assert [conv.norm is not None for conv in network.convs] == [True, True, False, False, False]
    assert [conv.pool is not None for conv in network.convs] == [True, True, False, False, True]
    assert not any(conv.norm for conv in AlexNet(5, one_tower=True).convs)
    assert (first.pool.pool_size, first.pool.strides) == ((3, 3), (2, 2))


def test_start_of_section_5() -> None:
    network = AlexNet(5, **TINY)
    network(random(1, 67, 67, 3))
    weighted = [conv.conv for conv in network.convs] + network.head.fc + [network.head.logits]
    starts = [set(convert_to_numpy(layer.bias)) for layer in weighted]
    assert starts == [{0}, {1}, {0}, {1}, {1}, {1}, {1}, {0}]
    for layer in weighted:
        assert convert_to_numpy(layer.kernel).std() == pytest.approx(0.01, rel=0.3)


def test_dropout_in_training_alone() -> None:
    network, x = AlexNet(5, **TINY), random(1, 67, 67, 3)
    assert [dropout.rate for dropout in network.head.dropouts] == [0.5, 0.5]
    answers = [convert_to_numpy(network(x, training=flag)) for flag in (False, False, True)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_small_images() -> None:
    network = AlexNet(10, small_images=True)
    x = keras.KerasTensor((1, 32, 32, 3))
    with keras.StatelessScope(initialize_variables=False):
        assert network(x).shape == (1, 10)
        assert network.head.fc[0].kernel.shape == (3 * 3 * 256, 512)
        for conv in network.convs:
            x = conv(x)
    assert x.shape == (1, 3, 3, 256)


@pytest.mark.parametrize("one_tower", [False, True])
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 5)),
        ({"pooling": "avg"}, (1, 5)),
        ({"include_top": False, "pooling": "max"}, (1, 8)),
        ({"include_top": False}, (1, 1, 1, 8)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple, one_tower: bool) -> None:
    network = AlexNet(5, **TINY, **options, one_tower=one_tower)
    assert network(random(1, 67, 67, 3)).shape == shape


def test_half_precision() -> None:
    x = 100 * random(1, 2, 2, 8)
    half = LocalResponseNorm(dtype="mixed_bfloat16")(x)
    assert keras.backend.standardize_dtype(half.dtype) == "bfloat16"
    wanted = convert_to_numpy(LocalResponseNorm()(x))
    np.testing.assert_allclose(np.float32(convert_to_numpy(half)), wanted, rtol=0.03)


def test_round_trip(tmp_path) -> None:
    network, x = AlexNet(5, **TINY, small_images=True), random(2, 32, 32, 3)
    y = convert_to_numpy(network(x))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert again.get_config() == network.get_config()
    np.testing.assert_allclose(convert_to_numpy(again(x)), y, atol=1e-6)
