"""TC-ResNet moves along time alone."""

import numpy as np
from keras.ops import convert_to_numpy

from models.audio.tc_resnet import TCResNet

TINY = {"filters": (4, 6, 6, 8)}


def test_row_164_frequency_is_no_place_but_a_channel() -> None:
    """The order of the coefficients means nothing: reorder the first filter's with them."""
    network = TCResNet(3, **TINY)
    x = np.random.default_rng(0).standard_normal((2, 33, 12)).astype(np.float32)
    before = convert_to_numpy(network(x))
    order = np.random.default_rng(1).permutation(12)
    kernel = network.stem.conv.kernel
    kernel.assign(convert_to_numpy(kernel)[:, :, order])
    np.testing.assert_allclose(network(x[..., order]), before, atol=1e-5)


def test_it_strides_where_it_widens_and_there_alone() -> None:
    network = TCResNet(3, **TINY)
    x = network.stem(np.zeros((1, 33, 1, 12), np.float32))
    shapes = [(x := block(x)).shape[1:] for block in network.stages]
    assert shapes == [(17, 1, 6), (17, 1, 6), (9, 1, 8)]
