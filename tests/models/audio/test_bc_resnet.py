"""What implementers of BC-ResNet get wrong."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.audio.bc_resnet import BCResNet, BroadcastBlock
from models.graph import shapes_only

RNG = np.random.default_rng(0)


def test_what_time_tells_is_added_to_each_band() -> None:
    block = BroadcastBlock(4, dilation=2)
    x = RNG.uniform(1, 2, (2, 9, 10, 4)).astype(np.float32)  # so that no ReLU cuts anything off
    block(x)
    block.sub_spectral.norm.gamma.assign(0.01 * RNG.standard_normal(4 * 5))
    y = convert_to_numpy(block(x))
    along_frequency = convert_to_numpy(block.sub_spectral(block.along_frequency(block.edges(x))))
    told = y - x - along_frequency
    np.testing.assert_allclose(told, np.broadcast_to(told[:, :, :1], told.shape), atol=1e-5)
    assert np.abs(told).max() > 1e-4


def test_a_stride_in_frequency_starts_at_the_first_band() -> None:
    """Zeros on both sides, as PyTorch; TensorFlow's SAME would be centred on the second."""
    block = BroadcastBlock(1, stride=2, transition=True)
    block.build((1, 3, 20, 1))
    kernel = RNG.standard_normal((1, 3, 1, 1)).astype(np.float32)
    block.along_frequency.kernel.assign(kernel)
    x = RNG.standard_normal((1, 3, 20, 1)).astype(np.float32)
    padded = np.pad(x[0, :, :, 0], ((0, 0), (1, 1)))
    wanted = np.stack([padded[:, f : f + 3] @ kernel[0, :, 0, 0] for f in range(0, 20, 2)], axis=1)
    y = convert_to_numpy(block.along_frequency(block.edges(x)))[0, :, :, 0]
    np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_dilation_is_in_time() -> None:
    block = BroadcastBlock(3, dilation=4)
    impulse = np.zeros((1, 21, 1, 3), np.float32)
    impulse[:, 10] = 1
    block.build((1, 21, 10, 3))
    reached = np.flatnonzero(np.abs(block.along_time(impulse)).sum(axis=(0, 2, 3)))
    assert reached.tolist() == [6, 10, 14]


@pytest.mark.parametrize(("bands", "fits"), [(40, True), (80, True), (64, False)])
def test_bands_have_to_fall_into_five_after_three_halvings(bands: int, fits: bool) -> None:
    with shapes_only():
        network, spectrogram = BCResNet(3), keras.KerasTensor((1, 11, bands))
        if fits:
            assert network.call(spectrogram).shape == (1, 3)
            return
        with pytest.raises(ValueError, match="multiple of 40 mel bands, not 64"):
            network.call(spectrogram)
