"""The shuffle's permutation, as the paper writes it."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.layers.shuffle import ChannelShuffle


@pytest.mark.parametrize(("groups", "channels"), [(2, 6), (3, 12), (4, 8), (1, 5)])
def test_the_shuffle_is_the_papers(groups: int, channels: int) -> None:
    x = np.broadcast_to(np.arange(channels, dtype=np.float32), (1, 2, 3, channels))
    y = convert_to_numpy(ChannelShuffle(groups)(x))[0, 0, 0].astype(int)
    width = channels // groups
    for i in range(groups):
        for j in range(width):
            assert y[j * groups + i] == i * width + j
    back = ChannelShuffle(width)(ChannelShuffle(groups)(x))
    np.testing.assert_array_equal(back, x)
