"""What networks cost: against their papers, and against definitions that need no formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import models
from models.catalogue import priced
from models.cost import Cost, StepCost, cost
from models.layers.frequency import FrequencyConv
from models.layers.grouped import GroupedConv2D
from tests.models.priced_once import by_name

# Millions of multiply-adds as printed, and how far rounding and what is left out or counted
# besides (biases, pooling, the last layer, another place of the stride) lets one be from them.
# fmt: off
PAPERS = {
    "alexnet": (724, 0.001),  # Sze 2017, table II
    "vgg16": (15_470, 0.001),
    "vgg19": (19_600, 0.002),  # He 2015, section 3.3
    "googlenet": (1_500, 0.06),  # Szegedy 2015, section 1
    "resnet18": (1_800, 0.02),  # He 2015, table 1
    "resnet34": (3_600, 0.02),
    "resnet50": (3_800, 0.02),
    "resnet101": (7_600, 0.01),
    "resnet152": (11_300, 0.01),
    "resnext50_32x4d": (4_100, 0.04),  # Xie 2017, table 1
    "se_resnet50": (3_870, 0.01),  # Hu 2018, section 4
    "xception": (8_380, 0.01),  # Zoph 2018, table 2
    "inception_v3": (5_720, 0.01),
    "mobilenet": (569, 0.001),  # Howard 2017, table 4
    "mobilenet_v2": (300, 0.01),  # Sandler 2018, table 4
    "mobilenet_v3_large": (219, 0.02),  # Howard 2019, table 3
    "mobilenet_v3_small": (56, 0.02),
    "shufflenet_v2_x0_5": (41, 0.02),  # Ma 2018, table 8
    "shufflenet_v2_x1_0": (146, 0.02),
    "shufflenet_v2_x1_5": (299, 0.02),
    "shufflenet_v2_x2_0": (591, 0.02),
}
SHUFFLENET_V1 = {1: 143, 2: 140, 3: 137, 4: 133, 8: 137}  # Zhang 2018, table 1, by groups
# Billions, as torchvision publishes them of its own weights ("_ops").
V15 = {"stride_on": "3x3"}
TORCHVISION = [
    ("alexnet", {"one_tower": True}, 0.714), ("vgg11", {}, 7.609), ("vgg13", {}, 11.308),
    ("vgg16_bn", {}, 15.470), ("vgg19", {}, 19.632), ("resnet18", {}, 1.814),
    ("resnet34", {}, 3.664), ("resnet50", V15, 4.089), ("resnet101", V15, 7.801),
    ("resnet152", V15, 11.514), ("resnext50_32x4d", {}, 4.230), ("densenet121", {}, 2.834),
    ("densenet169", {}, 3.360), ("densenet201", {}, 4.291), ("squeezenet1_0", {}, 0.819),
    ("squeezenet1_1", {}, 0.349), ("inception_v3", {}, 5.713), ("mobilenet_v2", {}, 0.301),
    ("mobilenet_v3_large", {}, 0.217), ("mobilenet_v3_small", {}, 0.057),
    ("shufflenet_v2_x0_5", {}, 0.040), ("shufflenet_v2_x1_0", {}, 0.145),
    ("shufflenet_v2_x1_5", {}, 0.296), ("shufflenet_v2_x2_0", {}, 0.583),
]
# fmt: on


@pytest.mark.parametrize("name", PAPERS)
def test_multiply_adds_are_the_papers(name) -> None:
    millions, tolerance = PAPERS[name]
    assert by_name(name).multiply_adds == pytest.approx(millions * 1e6, rel=tolerance)


DEEP = ("resnet101", "resnet152")  # the place of the stride is resnet50's, the depth held above


@pytest.mark.parametrize(
    ("name", "options", "billions"),
    [pytest.param(*row, marks=pytest.mark.full if row[0] in DEEP else ()) for row in TORCHVISION],
)
def test_multiply_adds_are_torchvisions(name, options, billions) -> None:
    found = priced(name, **options) if options else by_name(name)
    assert round(found.multiply_adds / 1e9, 3) == billions


@pytest.mark.parametrize("groups", SHUFFLENET_V1)
def test_shufflenet_costs_the_same_whatever_its_groups(groups) -> None:
    found = priced("shufflenet_v1", groups=groups).multiply_adds
    assert found == pytest.approx(SHUFFLENET_V1[groups] * 1e6, rel=0.02)


def test_small_networks_by_hand() -> None:
    # C1 28x28 of 156 - 6 weights; C3 10x10 of 60 links of 25; C5, F6; the RBF has no weights.
    assert by_name("lenet5").multiply_adds == 784 * 150 + 100 * 1500 + 48_000 + 10_080
    stages = [32 * 32 * 9 * 16 * (3 + 6 * 16)]
    stages += [16 * 16 * 9 * 32 * (16 + 5 * 32), 8 * 8 * 9 * 64 * (32 + 5 * 64)]
    assert by_name("resnet20").multiply_adds == sum(stages) + 640 == 40_551_040
    option_b = 16 * 16 * 16 * 32 + 8 * 8 * 32 * 64
    assert priced("resnet20", shortcut="B").multiply_adds == 40_551_040 + option_b
    text = priced("kim_cnn", size=10, embedding_dim=7, filters=5)
    assert text.multiply_adds == 10 * 7 * 5 * (3 + 4 + 5) + 15 * 10


@pytest.mark.parametrize("name", models.list_models())
def test_the_parameters_of_the_steps_are_those_of_the_network(name) -> None:
    found = by_name(name)
    assert sum(step.parameters for step in found.steps) == found.parameters
    assert sum(step.trainable for step in found.steps) == found.trainable
    weighted = [step.name for step in found.steps if step.multiply_adds]
    assert not [n for n in weighted if n.startswith(("conv2d", "dense", "grouped"))]  # no path


def own(found: Cost) -> list[StepCost]:
    """Without the input layer of a functional model."""
    first, _, *rest = found.steps
    return [first, *rest]


def counted(call, shape: tuple[int, ...]) -> Cost:
    inputs = keras.Input(shape)
    return cost(keras.Model(inputs, call(inputs)), shape)


# None of them pads: each product of a weight and a value is one number of the gradient then.
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv1D(3, 3, strides=2), (9, 2)),
        (layers.Conv2D(4, (3, 2), dilation_rate=2), (7, 6, 2)),
        (layers.Conv2D(4, 3, groups=2, strides=2), (7, 6, 4)),
        (GroupedConv2D(6, 3, groups=2), (5, 6, 4)),
        (layers.DepthwiseConv1D(3), (7, 4)),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2), (7, 6, 3)),
        (layers.Conv2DTranspose(2, 3, strides=3), (3, 2, 4)),
        (layers.Dense(5), (4,)),
        (layers.Dense(5), (3, 4)),
        (FrequencyConv(5, context=1, bands=3), (4, 6, 2)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_layers_multiply_adds_are_the_numbers_of_its_gradient(layer, shape) -> None:
    x = tf.random.uniform((1, *shape), 0.5, 1.0, seed=0)
    layer(x)
    for weight in layer.weights:
        weight.assign(np.full(weight.shape, 0.5))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    found = counted(layer, shape).multiply_adds
    assert found == np.count_nonzero(tape.jacobian(y, x)) > 0


def test_a_separable_convolution_is_its_two_parts() -> None:
    def parts(x):
        return layers.Conv2D(8, 1)(layers.DepthwiseConv2D(3)(x))

    whole = counted(layers.SeparableConv2D(8, 3), (7, 6, 4)).multiply_adds
    assert whole == counted(parts, (7, 6, 4)).multiply_adds == 5 * 4 * (9 * 4 + 4 * 8)


def test_memory_of_a_chain() -> None:
    def chain(x):
        x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
        x = layers.MaxPooling2D(2)(ops.relu(x))
        return layers.Dense(10)(layers.Dropout(0.5)(layers.Flatten()(x)))

    found = counted(chain, (8, 8, 3))
    sizes = [8 * 8 * 3, 8 * 8 * 4, 0, 0, 4 * 4 * 4, 0, 0, 10]
    assert [step.forward_bytes for step in own(found)] == [4 * size for size in sizes]
    weights = 3 * 9 * 4 + 4 + 64 * 10 + 10 + 2 * 4
    assert (found.trainable, found.parameters) == (weights, weights + 2 * 4)
    fixed, activations = 4 * 8, 4 * sum(sizes)
    assert found.training_bytes == {
        "sgd_momentum": 2 * activations + fixed + 3 * 4 * weights,
        "adam": 2 * activations + fixed + 4 * 4 * weights,
    }
    assert found.peak_bytes == 4 * (256 + 192)  # the convolution's input and output


def test_what_waits_for_a_branch_is_counted_at_the_peak() -> None:
    def residual(x):
        y = layers.Conv2D(3, 3, padding="same")(layers.Conv2D(6, 3, padding="same")(x))
        return layers.Identity()(x) + y

    found = counted(residual, (4, 4, 3))
    assert found.peak_bytes == 4 * 16 * (3 + 6 + 3)
    identity = next(step for step in found.steps if step.kind == "Identity")
    assert identity.forward_bytes == 0


def test_nothing_is_written_over_that_is_read_again() -> None:
    def shared(x):
        x = layers.Conv2D(3, 1)(x)
        return ops.relu(layers.Identity()(x)) + x

    steps = own(counted(shared, (4, 4, 3)))
    assert [step.forward_bytes > 0 for step in steps] == [True, True, False, True, True]


def test_a_layer_that_is_used_twice_has_its_weights_once() -> None:
    layer = layers.Conv2D(3, 3, padding="same", use_bias=False)
    found = counted(lambda x: layer(layer(x)), (4, 4, 3))
    assert [step.parameters for step in own(found)] == [0, 81, 0]
    assert found.parameters == 81
    assert found.multiply_adds == 2 * 16 * 81


def test_an_auxiliary_head_has_parameters_but_no_step() -> None:
    plain, with_heads = by_name("googlenet"), priced("googlenet", auxiliary=True)
    assert with_heads.parameters - plain.parameters == 13_378_280 - 6_998_552
    assert with_heads.multiply_adds == plain.multiply_adds


def test_a_layer_without_a_rule_is_an_error_and_not_nothing() -> None:
    with pytest.raises(NotImplementedError, match="GRU"):
        counted(layers.GRU(3), (4, 2))


def test_pricing_draws_no_weight(monkeypatch) -> None:
    drawn = []
    normal = keras.initializers.HeNormal.__call__
    monkeypatch.setattr(
        keras.initializers.HeNormal,
        "__call__",
        lambda self, *args, **kwargs: drawn.append(args) or normal(self, *args, **kwargs),
    )
    priced("vgg16")
    assert not drawn


def test_sizes_and_classes() -> None:
    assert by_name("resnet20").steps[-1].output == (10,)
    assert by_name("vgg16").steps[-1].output == (1000,)
    assert priced("frequency_cnn", size=50).input_shape == (50, 40)
    assert priced("resnet18", size=64, num_classes=7).steps[-1].output == (7,)
    with pytest.raises(ValueError, match="its defaults for 8 x 8 x 3: Computed output size"):
        priced("vgg16", size=8)
