"""A separable convolution is a depthwise and a pointwise one, and nothing between."""

import keras
import numpy as np

import models


def test_separable_blocks_have_no_activation_between_depthwise_and_pointwise() -> None:
    model = models.create_model("separable_cnn", 3, filters=4, blocks=2)
    model(np.zeros((1, 16, 16, 3), np.float32))
    conv = model.stages[0].convs[0]
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 4)).astype(np.float32)
    depthwise = keras.ops.depthwise_conv(x, conv.depthwise_kernel, padding="same")
    pointwise = keras.ops.conv(depthwise, conv.pointwise_kernel)
    np.testing.assert_allclose(conv(x), pointwise, atol=1e-5)
