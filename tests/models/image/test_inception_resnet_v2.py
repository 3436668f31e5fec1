"""Inception-ResNet v2: shapes, residuals and their scale.

That it equals keras.applications: tests/models/weights/test_keras_applications.py.
"""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.graph import shapes_only
from models.image.inception_resnet_v2 import ROWS, InceptionResNetV2, ResidualMixed

SHALLOW = tuple(row._replace(modules=1) for row in ROWS)


def test_sizes_of_the_table() -> None:
    with shapes_only():
        network = InceptionResNetV2(10, SHALLOW)
        x = keras.KerasTensor((1, 299, 299, 3))
        shapes = []
        for layer in (*network.stem, *network.stages, network.last):
            x = layer(x)
            shapes.append(x.shape[1::2])
    # fmt: off
    assert shapes == [
        (149, 32), (147, 32), (147, 64), (73, 64), (73, 80), (71, 192), (35, 192),
        (35, 320), (35, 320), (17, 1088), (17, 1088), (8, 2080), (8, 2080), (8, 1536),
    ]
    # fmt: on


def test_row_130_residuals_are_scaled_down_but_for_the_last() -> None:
    network = InceptionResNetV2(10)
    modules = [m for m in network.stages if isinstance(m, ResidualMixed)]
    assert [m.residuals for m in modules] == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
    assert {m.act.activation.__name__ for m in modules[:-1]} == {"relu"}
    assert modules[-1].act.activation.__name__ == "linear"


@pytest.mark.parametrize("activation", ["relu", None])
def test_row_135_a_module_adds_its_share_to_what_comes(activation: str | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 5, 6)).astype(np.float32)
    module = ResidualMixed(ROWS[0].branches, 0.25, activation, width=1 / 8)
    module(x)
    kernel, bias = (rng.standard_normal(w.shape) for w in module.up.weights)
    module.up.set_weights([kernel, bias])
    branches = []
    for convs in module.branches:
        y = x
        for conv in convs:
            y = conv(y)
        branches.append(convert_to_numpy(y))
    added = x + 0.25 * (np.concatenate(branches, -1) @ kernel[0, 0] + bias)
    wanted = np.maximum(added, 0) if activation else added
    np.testing.assert_allclose(convert_to_numpy(module(x)), wanted, atol=1e-5)


def test_small_images() -> None:
    network = InceptionResNetV2(10, SHALLOW, 1 / 32, small_images=True)
    x = np.zeros((1, 32, 32, 3), np.float32)
    assert network(x).shape == (1, 10)
    sides = set()
    for layer in (*network.stem, *network.stages):
        x = layer(x)
        sides.add(x.shape[1])
    assert sides == {32, 15, 7, 3}
