"""CNN14's ends: each band's own norm, and two ways of pooling time, added."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.audio.cnn14 import CNN14

TINY = {"filters": (4, 4, 6, 8), "units": 8}


def test_time_is_pooled_by_its_maximum_and_its_mean() -> None:
    network = CNN14(3, **TINY)
    x = np.random.default_rng(0).standard_normal((2, 32, 16)).astype(np.float32)
    network(x)
    maps = network.norm(x)[..., np.newaxis]
    for block in network.stages:
        maps = block(maps)
    assert maps.shape == (2, 4, 2, 8)
    frames = convert_to_numpy(maps).mean(axis=2)
    pooled = frames.max(axis=1) + frames.mean(axis=1)
    np.testing.assert_allclose(network.head(network.embedding(pooled)), network(x), atol=1e-5)


def test_each_band_is_normalised_by_itself() -> None:
    network = CNN14(3, **TINY)
    network(np.zeros((1, 8, 16), np.float32))
    assert network.norm.gamma.shape == (16,)


def test_fewer_bands_than_its_poolings_halve_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 mel bands, not 7"):
        CNN14(3, **TINY).call(keras.KerasTensor((1, 40, 7)))
