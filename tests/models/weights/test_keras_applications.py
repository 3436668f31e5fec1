"""keras.applications' networks and ours, with the same weights, give the same logits.

Weights are random, batch norm's statistics too, and inputs are small. In float64: float32's
rounding alone, through a hundred layers of random weights, comes to 3e-5.
"""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.weights.carry import WeightsError
from models.weights.keras_applications import DONORS, _folded, _named, build, carry_application

RNG = np.random.default_rng(0)
CLASSES = 7
SIZES = {
    "inception_v3": 107,
    "inception_resnet_v2": 107,
    "xception": 96,
    "vgg16": 64,
    "vgg19": 64,
}  # else 96
LARGE = ("resnet101", "resnet152", "resnet101v2", "resnet152v2", "densenet169")
LARGE += ("densenet201", "vgg19")  # each has a smaller sibling with the same table, but for
LARGE += ("inception_resnet_v2",)  # this one, whose table is nearly that of inception_v3


@pytest.fixture
def float64() -> Iterator[None]:
    for dtype in ("float64", "float32"):
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)  # which has forgotten floatx once it was asked for
        if dtype == "float64":
            yield


def pictures(size: int) -> np.ndarray:
    """Two, of coarse patches, so that what is averaged over them differs."""
    patches = RNG.uniform(-1, 1, (2, 4, 4, 3))
    x = keras.ops.image.resize(patches, (size, size), interpolation="nearest")
    return convert_to_numpy(x) + RNG.normal(0, 0.1, x.shape)


def randomise(network: keras.Model, x: np.ndarray) -> None:
    """Every weight, so that pictures that differ still differ after a hundred layers."""
    norms = [m for m in network.layers if isinstance(m, keras.layers.BatchNormalization)]
    for weight in network.weights:
        if "kernel" in weight.path:
            inputs = weight.shape[:2] if weight.shape[-1] == 1 else weight.shape[:-1]
            weight.assign(RNG.normal(0, np.sqrt(2 / np.prod(inputs)), weight.shape))
        elif "moving" not in weight.path:
            low, high = (0.5, 1.5) if "gamma" in weight.path else (-0.2, 0.2)
            weight.assign(RNG.uniform(low, high, weight.shape))
    for norm in norms:
        norm.momentum = 0.0
    network(x, training=True)  # the pictures' own statistics, which are then put off a little
    for norm in norms:
        deviation = np.sqrt(convert_to_numpy(norm.moving_variance))
        norm.moving_mean.assign_add(deviation * RNG.uniform(-0.2, 0.2, deviation.shape))
        norm.moving_variance.assign(deviation**2 * RNG.uniform(0.7, 1.4, deviation.shape))


def both(name: str) -> tuple[keras.Model, keras.Model, np.ndarray]:
    donor, size = DONORS[name], SIZES.get(name, 96)
    theirs = build(donor, None, CLASSES, input_shape=(size, size, 3))
    x = pictures(size)
    randomise(theirs, x)
    ours = models.create_model(name, CLASSES, **donor.options)
    ours(keras.KerasTensor((1, size, size, 3)))
    carry_application(ours, theirs, donor)
    return ours, theirs, x


def full(names):
    return [pytest.param(n, marks=pytest.mark.full if n in LARGE else ()) for n in names]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", full(DONORS))
def test_logits_are_those_of_keras(name: str) -> None:
    ours, theirs, x = both(name)
    wanted = convert_to_numpy(theirs(x, training=False))
    got = convert_to_numpy(ours(x, training=False))
    scale = np.abs(wanted).max()
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01 * scale  # the input is seen at all
    assert got.dtype == wanted.dtype == np.float64
    assert np.abs(got - wanted).max() <= 1e-9 * scale


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_keras_reads_its_own_files(suffix: str, tmp_path) -> None:
    donor, size = DONORS["mobilenet_v3_small"], {"input_shape": (32, 32, 3)}
    theirs = build(donor, None, CLASSES, **size)
    path = tmp_path / f"w{suffix}"
    theirs.save_weights(path) if suffix.startswith(".w") else theirs.save(path)
    again = build(donor, str(path), CLASSES, **size)
    for one, other in zip(theirs.weights, again.weights, strict=True):
        np.testing.assert_array_equal(convert_to_numpy(one), convert_to_numpy(other))


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_what_keras_cannot_read_is_one_error(content, tmp_path) -> None:
    donor, path = DONORS["mobilenet_v3_small"], tmp_path / "w.h5"
    if content is None:  # of other classes
        build(donor, None, CLASSES + 1).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"MobileNetV3Small cannot take .*w\.h5 with 7 classes"):
        build(donor, str(path), CLASSES)


def test_unnamed_layers_are_counted_in_the_order_of_their_making() -> None:
    """Keras counts on from one network to the next, and 10 sorts before 9 as a text."""
    for _ in range(12):
        keras.layers.Conv2D(1, 1)
    application = build(DONORS["xception"], None, CLASSES, input_shape=(71, 71, 3))
    names = _named(application.layers)
    filters = [names[f"conv2d {number}"].filters for number in range(1, 5)]
    assert filters == [128, 256, 728, 1024]
    assert "conv2d 5" not in names


def test_a_bias_before_a_batch_norm_moves_its_mean() -> None:
    theirs = {
        "c": {"kernel": np.zeros((1, 1, 2, 3)), "bias": np.arange(3.0)},
        "n": {"moving_mean": np.full(3, 5.0), "beta": np.ones(3)},
    }
    table = {"stem.conv": "c", "stem.norm": "n"}
    conv = keras.layers.Conv2D(3, 1, use_bias=False)
    folded = _folded(theirs, {"stem.conv": conv}, table)
    assert folded["c"].keys() == {"kernel"}
    np.testing.assert_array_equal(folded["n"]["moving_mean"], [5.0, 4.0, 3.0])
    assert theirs["n"]["moving_mean"][1] == 5.0
    biased = keras.layers.Conv2D(3, 1)
    assert _folded(theirs, {"stem.conv": biased}, table) == theirs
