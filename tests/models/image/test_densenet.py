"""DenseNet's arithmetic of channels."""

import keras
import numpy as np

from models.image.densenet import DenseLayer, DenseNet, Transition


def test_a_layer_adds_k_maps_and_keeps_the_others() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 7)).astype(np.float32)
    y = DenseLayer(growth_rate=3)(x)
    assert y.shape == (2, 5, 5, 10)
    np.testing.assert_array_equal(y[..., :7], x)


def test_a_layer_s_bottleneck_has_4k_maps() -> None:
    layer = DenseLayer(growth_rate=3)
    layer.build((1, 5, 5, 7))
    assert tuple(layer.conv1.conv.kernel.shape) == (1, 1, 7, 12)
    assert tuple(layer.conv2.kernel.shape) == (3, 3, 12, 3)


def test_a_transition_keeps_half_of_the_maps_rounded_down() -> None:
    assert Transition().compute_output_shape((1, 7, 6, 9)) == (1, 3, 3, 4)


def test_channels_are_those_of_table_1() -> None:
    network = DenseNet(1000)
    network.call(keras.KerasTensor((1, 64, 64, 3)))
    found = [
        layer.conv.kernel.shape[-1] for layer in network.stages if isinstance(layer, Transition)
    ]
    assert found == [128, 256, 512]  # (64 + 6k) / 2, and so on
    assert network.norm.gamma.shape == (1024,)


def test_dropout_is_off_unless_asked_for() -> None:
    def rates(network):
        layers = network._flatten_layers()
        return [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)]

    assert rates(DenseNet(10, blocks=(2,))) == []
    assert rates(DenseNet(10, blocks=(2,), dropout_rate=0.2)) == [0.2, 0.2]
