"""The layers for sounds against the NumPy definition, as test_our_layers.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.layers.frames import PadFrames
from models.layers.frequency import FrequencyConv, SubSpectralNorm
from models.reference.batch_norm import batch_norm
from models.reference.convolution import convolve
from tests.models.reference.checks import assert_same, random
from tests.models.reference.drawn import few

small = st.integers(1, 3)


@pytest.mark.parametrize("frames", [3, 5, 8])
def test_row_164_padded_frames(frames: int) -> None:
    def reference(x):
        missing = ((0, 0), (0, max(0, frames - 5)), (0, 0))
        return np.pad(x, missing), lambda dy: dy[:, :5]

    assert_same(PadFrames(frames, dtype="float64"), reference, random(2, 5, 3))


@few
@given(small, small, st.integers(1, 2), small, small)
def test_row_164_limited_weight_sharing(context, bands, stride, sections, places) -> None:
    """Each section's own filters over its own bands, and the maximum of each."""
    size = (sections * places - 1) * stride + bands
    height = (places - 1) * stride + bands

    def reference(x, *kernels):
        pooled, backs = [], []
        for section, kernel in enumerate(kernels):
            first = section * places * stride
            part = x[:, :, first : first + height]
            maps, convolve_back = convolve(part, kernel, stride=(1, stride))
            best = maps.argmax(axis=2)[:, :, np.newaxis]
            pooled.append(np.take_along_axis(maps, best, axis=2))
            backs.append((first, maps.shape, best, convolve_back))

        def back(dy):
            dx, dkernels = np.zeros_like(x), []
            for section, (first, shape, best, convolve_back) in enumerate(backs):
                dmaps = np.zeros(shape)
                np.put_along_axis(dmaps, best, dy[:, :, [section]], axis=2)
                dpart, dkernel, _ = convolve_back(dmaps)
                dx[:, :, first : first + height] += dpart
                dkernels.append(dkernel)
            return (dx, *dkernels)

        return np.concatenate(pooled, axis=2), back

    layer = FrequencyConv(
        2, context, bands, band_stride=stride, padding="valid", sections=sections, dtype="float64"
    )
    assert_same(layer, reference, random(2, 4, size, 2))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_row_131_sub_spectral_norm(groups: int) -> None:
    """Batch norm, with each channel of each part of the bands as a channel."""

    def apart(x):
        parts = x.reshape(*x.shape[:2], groups, -1, x.shape[-1]).swapaxes(2, 3)
        return parts.reshape(*parts.shape[:3], -1)

    def together(flat, shape):
        parts = flat.reshape(*flat.shape[:3], groups, shape[-1]).swapaxes(2, 3)
        return parts.reshape(shape)

    def reference(x, gamma, beta):
        y, norm_back = batch_norm(apart(x), gamma, beta, epsilon=1e-5)

        def back(dy):
            dflat, dgamma, dbeta = norm_back(apart(dy))
            return together(dflat, x.shape), dgamma, dbeta

        return together(y, x.shape), back

    layer = SubSpectralNorm(groups, dtype="float64")
    assert_same(layer, reference, random(2, 3, 6, 2), training=True)
