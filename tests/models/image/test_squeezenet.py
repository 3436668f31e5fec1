"""SqueezeNet: table 1's shapes and counts, the pooling of Caffe, the bypasses of figure 2."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.squeezenet import FIRES, VARIANTS, Fire, SqueezeNet
from models.layers.pooling import CeilMaxPool

TINY = {"stem_filters": 8, "fires": ((2, 4, 4), (2, 4, 4), (2, 6, 6)), "pools": (1, 2)}


def built(size: int = 224, **options) -> SqueezeNet:
    network = SqueezeNet(**{"num_classes": 1000, **options})
    network(keras.KerasTensor((1, size, size, 3)))
    return network


@pytest.mark.parametrize(
    ("name", "bypass", "count"),
    [
        ("squeezenet1_0", None, 1_248_424),
        ("squeezenet1_0", "simple", 1_248_424),
        # four projections more: c_in * c_out + c_out for 96-128, 128-256, 256-384, 384-512
        ("squeezenet1_0", "complex", 1_248_424 + 12_416 + 33_024 + 98_688 + 197_120),
        ("squeezenet1_1", None, 1_235_496),
        ("squeezenet1_1", "complex", 1_572_648),
    ],
)
def test_counts(name: str, bypass: str | None, count: int) -> None:
    assert built(**VARIANTS[name], bypass=bypass).count_params() == count


def test_the_rows_follow_the_papers_rule() -> None:
    """Section 5: base 128, 128 more every 2 modules, half of them 3x3, squeeze ratio 1/8."""
    for i, row in enumerate(FIRES):
        expand = 128 + 128 * (i // 2)
        assert row == (expand * 0.125, expand * 0.5, expand * 0.5)


# fmt: off
SIDES = {
    "squeezenet1_0": (224, [109, 54, 54, 54, 54, 27, 27, 27, 27, 27, 13, 13]),
    "squeezenet1_1": (224, [111, 55, 55, 55, 27, 27, 27, 13, 13, 13, 13, 13]),
}
# fmt: on


@pytest.mark.parametrize("name", SIDES)
def test_sizes_of_the_table(name: str) -> None:
    size, sides = SIDES[name]
    x = keras.KerasTensor((1, size, size, 3))
    seen = []
    for stage in SqueezeNet(10, **VARIANTS[name]).stages:
        x = stage(x)
        seen.append(x.shape[1])
    assert seen == sides


def test_the_paper_sizes_belong_to_227() -> None:
    stages = SqueezeNet(10, **VARIANTS["squeezenet1_0"]).stages
    x = keras.KerasTensor((1, 227, 227, 3))
    assert (x := stages[0](x)).shape == (1, 111, 111, 96)
    assert stages[1](x).shape == (1, 55, 55, 96)


def around(network: SqueezeNet) -> list[str | None]:
    fires = [stage for stage in network.stages if isinstance(stage, Fire)]
    return [type(fire.bypass).__name__ if fire.bypass else None for fire in fires]


def test_bypasses_go_around_the_modules_of_figure_2() -> None:
    assert around(SqueezeNet(10)) == [None] * 8
    assert around(SqueezeNet(10, bypass="simple")) == [None, "Identity"] * 4
    assert around(SqueezeNet(10, bypass="complex")) == ["Conv2D", "Identity"] * 4
    with pytest.raises(ValueError, match="bypass must be"):
        SqueezeNet(10, bypass="all")


def test_a_bypass_adds_the_input() -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 3, 8)).astype(np.float32)
    fire, plain = Fire(2, 4, 4, "identity"), Fire(2, 4, 4)
    with_bypass = convert_to_numpy(fire(x))
    plain(x)
    plain.set_weights(fire.get_weights())
    np.testing.assert_allclose(with_bypass, x + convert_to_numpy(plain(x)), atol=1e-6)


def test_logits_are_the_mean_of_a_map_after_relu() -> None:
    network = built(64, num_classes=5, **TINY)
    x = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    network.head.conv10.bias.assign([-9, 0, 0.1, 0.2, 0.3])
    logits = convert_to_numpy(network(x))
    assert logits.shape == (2, 5)
    assert np.all(logits[:, 0] == 0)
    features = x
    for stage in network.stages:
        features = stage(features)
    maps = convert_to_numpy(features) @ convert_to_numpy(network.head.conv10.kernel)[0, 0]
    maps = np.maximum(maps + convert_to_numpy(network.head.conv10.bias), 0)
    np.testing.assert_allclose(logits, maps.mean((1, 2)), atol=1e-5)
    assert network.head.dropout.rate == 0.5


def test_small_images() -> None:
    network = built(32, num_classes=10, small_images=True)
    assert [stage for stage in network.stages[:2] if isinstance(stage, CeilMaxPool)] == []
    x = keras.KerasTensor((1, 32, 32, 3))
    assert network(x).shape == (1, 10)
    for stage in network.stages:
        x = stage(x)
    assert x.shape == (1, 8, 8, 512)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"pooling": "max"}, (1, 5)),
        ({"pooling": None}, (1, 5)),
        ({"include_top": False}, (1, 12)),
        ({"include_top": False, "pooling": None}, (1, 7, 7, 12)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    network = SqueezeNet(5, **TINY, **options)
    assert network(np.zeros((1, 64, 64, 3), np.float32)).shape == shape


def test_round_trip(tmp_path) -> None:
    network = built(64, num_classes=5, **TINY, bypass="complex")
    config = network.get_config()
    assert type(network).from_config(config).get_config() == config
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(convert_to_numpy(again(x)), convert_to_numpy(network(x)), atol=1e-6)
