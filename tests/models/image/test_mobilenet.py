"""What implementers of the three MobileNets get wrong."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.ops import convert_to_numpy

from models.graph import shapes_only, unroll
from models.image.mobilenet import MobileNet
from models.image.mobilenet_v2 import InvertedResidual, MobileNetV2
from models.image.mobilenet_v3 import SMALL, MobileNetV3
from models.layers.rounding import make_divisible
from models.layers.squeeze_excite import SqueezeExcite


def size_of(network: keras.Model) -> int:
    return sum(int(np.prod(v.shape)) for v in network.weights)


# Parameters of keras.applications, which were built with weights=None.
@pytest.mark.parametrize(
    ("network", "options", "total"),
    [
        (MobileNetV2, {"width_multiplier": 0.35}, 1_691_208),
        (MobileNetV2, {"width_multiplier": 0.75}, 2_663_064),
        (MobileNetV2, {"width_multiplier": 1.3}, 5_431_048),
        (MobileNetV3, {"rows": SMALL, "units": 1024, "width_multiplier": 0.75}, 2_051_552),
        (MobileNetV3, {"width_multiplier": 0.75}, 4_012_616),
    ],
)
def test_other_widths(network: type, options: dict, total: int) -> None:
    with shapes_only():
        model = network(1000, **options)
        model.call(keras.KerasTensor((1, 224, 224, 3)))
        assert size_of(model) == total


@given(st.floats(1, 4000))
def test_channels_are_multiples_of_eight_and_never_a_tenth_fewer(channels: float) -> None:
    rounded = make_divisible(channels)
    assert rounded % 8 == 0
    assert rounded >= 8
    assert 0.9 * channels <= rounded <= max(8, channels + 8)


def test_the_last_block_does_not_stride() -> None:
    """Table 1 prints a stride of 2 there, beside sizes that say 1."""
    network = unroll(MobileNet(10, width_multiplier=0.25), (224, 224, 3))
    sizes = [op.output.shape[1] for op in network.operations if "Depthwise" in type(op).__name__]
    assert sizes == [112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7]


def test_a_bottleneck_is_linear() -> None:
    """It gives negative numbers, which a ReLU at its end would have lost."""
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 8)).astype(np.float32)
    block = InvertedResidual(8)
    assert convert_to_numpy(block(x)).min() < -0.1
    assert block.project.act.activation is keras.activations.linear
    assert block.expand.conv.kernel.shape[-1] == 6 * 8


def test_the_sum_joins_equal_ends_only() -> None:
    network = MobileNetV2(10)
    network.call(keras.KerasTensor((1, 224, 224, 3)))
    summed = [block.residual for block in network.stages]
    # Of each row of n blocks, the last n - 1.
    first, rest = [False], [True]
    wanted = [first + (n - 1) * rest for n in (1, 2, 3, 4, 3, 3, 1)]
    assert summed == [residual for row in wanted for residual in row]


def test_v3_s_gates_are_hard_sigmoids_on_a_quarter_of_the_expansion() -> None:
    network = MobileNetV3(10)
    network.call(keras.KerasTensor((1, 224, 224, 3)))
    gates = [layer for layer in network._flatten_layers() if isinstance(layer, SqueezeExcite)]
    squeezed = [gate.squeeze.filters for gate in gates]
    # Of 72, 120, 120, 480, 672, 672, 960, 960: a quarter, in eights.
    assert squeezed == [24, 32, 32, 120, 168, 168, 240, 240]
    assert {gate.excite.activation for gate in gates} == {keras.activations.hard_sigmoid}


def test_hard_swish_is_the_papers() -> None:
    x = np.linspace(-5, 5, 101).astype(np.float32)
    wanted = x * np.clip(x + 3, 0, 6) / 6
    np.testing.assert_allclose(keras.activations.get("hard_swish")(x), wanted, atol=1e-6)
