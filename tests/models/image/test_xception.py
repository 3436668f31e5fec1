"""Xception: figure 5's shapes and counts; equal to keras.applications with its weights."""

import re

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.xception import Xception

TINY = {
    "stem_filters": (4, 6),
    "entry_filters": (6, 8, 10),
    "middle_blocks": 1,
    "exit_filters": (12, 14, 16),
}


def built(size: int = 299, **options) -> Xception:
    network = Xception(**{"num_classes": 1000, **options})
    network(keras.KerasTensor((1, size, size, 3)))
    return network


def test_counts() -> None:
    network = built()
    trained = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    # Running statistics: 2 for each channel of a batch norm: the stem, the shortcuts, the blocks.
    norms = (32 + 64) + (128 + 256 + 728 + 1024) + 2 * (128 + 256 + 728) + 24 * 728
    norms += (728 + 1024) + (1536 + 2048)
    assert network.count_params() == 22_910_480
    assert trained == 22_910_480 - 2 * norms == 22_855_952


def test_sizes_of_the_figure() -> None:
    network = Xception(10)
    x = keras.KerasTensor((1, 299, 299, 3))
    shapes = []
    for layer in (*network.stem, *network.entry, network.middle[0], network.exit, *network.last):
        x = layer(x)
        shapes.append(x.shape[1::2])
    # fmt: off
    assert shapes == [(149, 32), (147, 64), (74, 128), (37, 256), (19, 728),
                      (19, 728), (10, 1024), (10, 1536), (10, 2048)]
    # fmt: on
    assert len(network.middle) == 8


def test_nothing_between_depthwise_and_pointwise() -> None:
    """A separable convolution is linear: f(-x) = -f(x)."""
    convs = [conv.conv for block in built(71).middle for conv in block.convs]
    assert all(conv.activation is keras.activations.linear for conv in convs)
    assert not any(conv.use_bias for conv in convs)
    x = np.random.default_rng(0).standard_normal((1, 5, 5, 728)).astype(np.float32)
    np.testing.assert_allclose(
        convert_to_numpy(convs[0](-x)), -convert_to_numpy(convs[0](x)), atol=1e-5
    )


def in_order_of_making(application: keras.Model, kind: str) -> list:
    """Keras numbers its unnamed layers, the shortcuts', and names the others by their block."""

    def number(layer) -> int:
        return int(re.search(r"\d*$", layer.name).group() or 0)

    def place(layer) -> tuple[int, int]:
        if named := re.match(r"block(\d+)_(?:sep)?conv(\d)", layer.name):
            return int(named[1]), int(named[2])
        return (shortcuts[shortcut.index(layer)], 0) if layer in shortcut else (99, 0)

    shortcuts = [2, 3, 4, 13]
    with_kind = [x for x in application.layers if kind in {w.name for w in x.weights}]
    shortcut = [x for x in with_kind if x.name.startswith(("conv2d", "batch_normalization"))]
    shortcut.sort(key=number)
    return [w for x in sorted(with_kind, key=place) for w in x.weights if w.name == kind]


def test_equal_to_keras_applications() -> None:
    shape = (2, 96, 107, 3)
    theirs = keras.applications.Xception(
        include_top=False, weights=None, input_shape=shape[1:], pooling="avg"
    )
    ours = Xception(1000, include_top=False)
    ours(keras.KerasTensor(shape))
    assert {w.name for w in ours.weights} == {w.name for w in theirs.weights}
    random = np.random.default_rng(0)
    for kind in sorted({w.name for w in theirs.weights}):
        mine = [w for w in ours.weights if w.name == kind]
        for weight, other in zip(mine, in_order_of_making(theirs, kind), strict=True):
            value = convert_to_numpy(other)
            if "kernel" not in kind:
                value = random.uniform(0.5, 1.5, value.shape)
            other.assign(value)
            weight.assign(value)
    x = random.standard_normal(shape).astype(np.float32)
    y = convert_to_numpy(theirs(x, training=False))
    np.testing.assert_allclose(
        convert_to_numpy(ours(x, training=False)), y, atol=1e-5 * np.abs(y).max()
    )
    assert y.std() > 1e-3


def test_small_images() -> None:
    network = built(32, num_classes=10, **TINY, small_images=True)
    x = np.zeros((1, 32, 32, 3), np.float32)
    assert network(x).shape == (1, 10)
    for layer in (*network.stem, *network.entry):
        x = layer(x)
    assert x.shape == (1, 4, 4, 10)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"pooling": "max"}, (1, 5)),
        ({"pooling": None}, (1, 5)),
        ({"include_top": False}, (1, 16)),
        ({"include_top": False, "pooling": None}, (1, 3, 3, 16)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    assert Xception(5, **TINY, **options)(np.zeros((1, 71, 71, 3), np.float32)).shape == shape


def test_round_trip(tmp_path) -> None:
    network = built(71, num_classes=5, **TINY)
    config = network.get_config()
    assert type(network).from_config(config).get_config() == config
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).standard_normal((2, 71, 71, 3)).astype(np.float32)
    np.testing.assert_allclose(convert_to_numpy(again(x)), convert_to_numpy(network(x)), atol=1e-6)
