"""VGG: table 1's counts, Keras's own VGG, batch norm beside biases, the separable form."""

from collections.abc import Iterator
from itertools import pairwise

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.graph import shapes_only, steps, unroll
from models.image.vgg import VARIANTS, VGG

TINY = {"convs": (1, 2, 1), "filters": 4, "units": 12}


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Or Keras draws the weights of all that was built by shapes alone, later."""
    yield
    keras.utils.clear_session(free_memory=False)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def counted(shape: tuple[int, ...] = (1, 224, 224, 3), **options) -> tuple[int, int]:
    """Total and trainable. By shapes alone: no weight is drawn."""
    with keras.StatelessScope(initialize_variables=False):
        network = VGG(**{"num_classes": 1000, **options})
        network(keras.KerasTensor(shape))
        trainable = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        return network.count_params(), trainable


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [
        ("vgg11", 132_863_336, 132_863_336),
        ("vgg13", 133_047_848, 133_047_848),
        ("vgg16", 138_357_544, 138_357_544),
        ("vgg19", 143_667_240, 143_667_240),
        ("vgg16_c", 133_638_952, 133_638_952),
        # gamma and beta of each filter are trained, its mean and variance are not
        ("vgg11_bn", 132_868_840 + 2 * 2_752, 132_868_840),
        ("vgg13_bn", 133_053_736 + 2 * 2_944, 133_053_736),
        ("vgg16_bn", 138_365_992 + 2 * 4_224, 138_365_992),
        ("vgg19_bn", 143_678_248 + 2 * 5_504, 143_678_248),
    ],
)
def test_counts(name: str, total: int, trainable: int) -> None:
    assert counted(**VARIANTS[name]) == (total, trainable)


@pytest.mark.parametrize(
    ("name", "count"),
    [("vgg11", 9_220_480), ("vgg13", 9_404_992), ("vgg16", 14_714_688), ("vgg19", 20_024_384)],
)
def test_counts_of_the_convolutions(name: str, count: int) -> None:
    assert counted(**VARIANTS[name], include_top=False)[0] == count


def test_global_pooling_takes_away_nine_tenths() -> None:
    total, _ = counted(**VARIANTS["vgg16"], pooling="avg")
    assert total == 14_714_688 + 512 * 1000 + 1000


def test_separable_convolutions() -> None:
    """A kernel of 9 c_in c_out becomes 9 c_in + c_in c_out, but for the first."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    pairs = list(pairwise(widths))
    saved = sum(9 * a * b - (9 * a + a * b) for a, b in pairs[1:])
    assert counted(**VARIANTS["vgg16"], separable=True)[0] == 138_357_544 - saved


def test_row_120_configuration_c_has_a_1x1_at_the_end_of_its_last_three_stages() -> None:
    """As far to see as B, and a ReLU more in each of them."""
    with shapes_only():
        stages = VGG(10, **VARIANTS["vgg16_c"]).stages
        kernels = [[layer.conv.kernel_size[0] for layer in stage] for stage in stages]
    assert kernels == [[3, 3], [3, 3], [3, 3, 1], [3, 3, 1], [3, 3, 1]]


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_layers_are_those_of_keras(name: str) -> None:
    """That the weights carried over give the same answers, the import's tests say."""
    with keras.StatelessScope(initialize_variables=False):
        theirs = getattr(keras.applications, name.upper())(weights=None)
        ours = unroll(VGG(1000, **VARIANTS[name]), (224, 224, 3))
        assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    sizes = {
        kind: [
            (layer.strides, layer.padding, tuple(layer.output.shape[1:]))
            for layer in theirs.layers
            if isinstance(layer, kind)
        ]
        for kind in (keras.layers.Conv2D, keras.layers.MaxPooling2D)
    }
    for kind, wanted in sizes.items():
        found = [step for step in steps(ours) if isinstance(step.operation, kind)]
        assert [
            (step.operation.strides, step.operation.padding, tuple(step.output.shape[1:]))
            for step in found
        ] == wanted


def test_batch_norm_stands_between_convolution_and_relu() -> None:
    network, x = VGG(5, **TINY, batch_norm=True, include_top=False), random(2, 8, 8, 3)
    conv = network.stages[0][0]
    y = convert_to_numpy(conv(x))
    assert conv.conv.use_bias
    conv.norm.moving_mean.assign([9, 0, 0, 0])
    shifted = convert_to_numpy(conv(x))
    assert np.all(shifted[..., 0] == 0)
    np.testing.assert_array_equal(shifted[..., 1:], y[..., 1:])


def test_dropout_in_training_alone() -> None:
    network, x = VGG(5, **TINY), random(2, 16, 16, 3)
    assert [dropout.rate for dropout in network.dropouts] == [0.5, 0.5]
    answers = [convert_to_numpy(network(x, training=flag)) for flag in (False, False, True)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.allclose(answers[0], answers[2])


def test_filters_grow_up_to_eightfold() -> None:
    network = VGG(5, convs=(1,) * 5, filters=2)
    assert [convs[0].conv.filters for convs in network.stages] == [2, 4, 8, 16, 16]


def test_small_images() -> None:
    network = VGG(10, **VARIANTS["vgg11"], small_images=True)
    with keras.StatelessScope(initialize_variables=False):
        assert network(keras.KerasTensor((1, 32, 32, 3))).shape == (1, 10)
        assert network.fc[0].kernel.shape == (512, 512)
        assert network.count_params() == 9_220_480 + 2 * (512 * 512 + 512) + 5_130


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 5)),
        ({"pooling": "avg"}, (1, 5)),
        ({"pooling": "max", "separable": True, "batch_norm": True}, (1, 5)),
        ({"include_top": False, "pooling": "avg"}, (1, 16)),
        ({"include_top": False}, (1, 3, 2, 16)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    assert VGG(5, **TINY, **options)(random(1, 24, 16, 3)).shape == shape
    with pytest.raises(ValueError, match="pooling must be"):
        VGG(5, **TINY, pooling="mean")


def test_round_trip(tmp_path) -> None:
    network, x = VGG(5, **TINY, batch_norm=True, separable=True), random(2, 16, 16, 3)
    y = convert_to_numpy(network(x))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert again.get_config() == network.get_config()
    np.testing.assert_allclose(convert_to_numpy(again(x)), y, atol=1e-6)
