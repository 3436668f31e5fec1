"""Nothing is carried unless everything fits."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.weights.carry import WeightsError, carry, weighted_layers


@pytest.fixture
def network() -> keras.Model:
    made = models.create_model("resnet20", 3, blocks=1, filters=2)
    made(keras.KerasTensor((1, 8, 8, 3)))
    return made


@pytest.fixture
def theirs(network) -> dict:
    """Other weights, by names that are ours backwards."""
    rng = np.random.default_rng(0)
    return {
        path[::-1]: {w.name: rng.standard_normal(w.shape).astype(np.float32) for w in layer.weights}
        for path, layer in weighted_layers(network).items()
    }


@pytest.fixture
def table(network) -> dict[str, str]:
    return {path: path[::-1] for path in weighted_layers(network)}


def test_weighted_layers_are_the_innermost(network) -> None:
    found = weighted_layers(network)
    assert "stages.2.conv2.norm" in found
    assert "stages.2" not in found
    weights = [id(w) for layer in found.values() for w in layer.weights]
    assert sorted(weights) == sorted(id(w) for w in network.weights)


def test_all_weights_are_set(network, theirs, table) -> None:
    carry(network, theirs, table)
    for path, layer in weighted_layers(network).items():
        for weight in layer.weights:
            np.testing.assert_array_equal(convert_to_numpy(weight), theirs[path[::-1]][weight.name])


def spoil_unused(theirs, table):
    theirs["extra"] = {"kernel": np.zeros(3)}


def spoil_missing(theirs, table):
    del theirs[table["head.dense"]]


def spoil_row(theirs, table):
    del theirs[table.pop("stem.conv")]


def spoil_path(theirs, table):
    table["stages.9.conv1.conv"] = table["stem.conv"]


def spoil_shape(theirs, table):
    theirs[table["stem.conv"]]["kernel"] = np.zeros((3, 3, 3, 5))


def spoil_bias(theirs, table):
    theirs[table["stem.conv"]]["bias"] = np.zeros(2)


def spoil_statistics(theirs, table):
    del theirs[table["stem.norm"]]["moving_mean"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_unused, "their extra is not used"),
        (spoil_missing, "head.dense needs their esned.daeh, which is missing"),
        (spoil_row, "stem.conv has no counterpart"),
        (spoil_path, "stages.9.conv1.conv is not in this network"),
        (spoil_shape, r"stem.conv has a kernel of shape \[3, 3, 3, 2\].*\[3, 3, 3, 5\]"),
        (spoil_bias, "stem.conv has kernel, and their vnoc.mets bias, kernel"),
        (spoil_statistics, "stem.norm has beta, gamma, moving_mean, .* beta, gamma, moving_var"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_set(spoil, said, network, theirs, table) -> None:
    spoil(theirs, table)
    before = [convert_to_numpy(w).copy() for w in network.weights]
    with pytest.raises(WeightsError, match=said):
        carry(network, theirs, table)
    for old, weight in zip(before, network.weights, strict=True):
        np.testing.assert_array_equal(old, convert_to_numpy(weight))


def test_a_long_list_is_cut(network, theirs, table) -> None:
    with pytest.raises(WeightsError, match=r"; and \d+ more$"):
        carry(network, {}, table)
