"""PyTorch state dicts -> our networks: the names in torchvision and in akamaster's ResNets.

A row says where a layer hangs in our network and what it is called there. PyTorch has channels
first: in pictures, in kernels, and where a feature map is flattened.
"""

from collections import defaultdict
from collections.abc import Mapping
from math import isqrt

import keras
import numpy as np
from keras import layers

from models.weights.carry import Table, Weights, WeightsError, carry
from models.weights.donor import TORCH, Donor, pair, stages

NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
COUNTER = "num_batches_tracked"  # of a batch norm; nothing is computed from it


def carry_state(network: keras.Model, state: Mapping[str, np.ndarray], donor: Donor) -> None:
    """Set every weight of the network.  Raises: WeightsError."""
    theirs: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for key, value in state.items():
        name, _, kind = key.rpartition(".")
        if kind != COUNTER:
            theirs[name][kind] = value

    def convert(layer: layers.Layer, name: str, weights: Weights) -> Weights:
        names = NORM if isinstance(layer, layers.BatchNormalization) else {"weight": "kernel"}
        renamed = {names.get(kind, kind): value for kind, value in weights.items()}
        if "kernel" in renamed:
            renamed["kernel"] = _kernel(layer, renamed["kernel"], donor.flattened.get(name))
        return renamed

    carry(network, theirs, donor.table(network), convert)


def class_count(state: Mapping[str, np.ndarray], donor: Donor) -> int:
    """K.  Raises: WeightsError if the state dict is of another network."""
    key = f"{donor.classifier}.weight"
    if key not in state:
        raise WeightsError(f"these are weights of another network: they have no {key}")
    return len(state[key])


def _kernel(layer: layers.Layer, kernel: np.ndarray, flattened: int | None) -> np.ndarray:
    """[O, I], [O, I, H, W] or, of a depthwise convolution, [C, 1, H, W] -> Keras's order."""
    if kernel.ndim == 2 and flattened:
        side = isqrt(kernel.shape[1] // flattened)
        kernel = kernel.reshape(len(kernel), flattened, side, side).transpose(0, 2, 3, 1)
        return kernel.reshape(len(kernel), -1).T
    if kernel.ndim == 2:
        return kernel.T
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel.transpose(2, 3, 0, 1)
    return kernel.transpose(2, 3, 1, 0)


def alexnet(network: keras.Model) -> Table:
    """Theirs counts ReLUs, poolings and dropout, too."""
    table = {f"convs.{i}.conv": f"features.{n}" for i, n in enumerate((0, 3, 6, 8, 10))}
    dense = {"head.fc.0": "classifier.1", "head.fc.1": "classifier.4"}
    return {**table, **dense, "head.logits": "classifier.6"}


def vgg(network: keras.Model) -> Table:
    """Theirs counts batch norms, ReLUs and poolings, too."""
    table = {"fc.0": "classifier.0", "fc.1": "classifier.3", "head": "classifier.6"}
    number = 0
    for stage, count in enumerate(network.convs):
        for conv in range(count):
            ours = f"stages.{stage}.{conv}"
            table[f"{ours}.conv"] = f"features.{number}"
            if network.batch_norm:
                table[f"{ours}.norm"] = f"features.{number + 1}"
            number += 3 if network.batch_norm else 2
        number += 1
    return table


def resnet(network: keras.Model) -> Table:
    table = {**pair("stem", "conv1", "bn1"), "head.dense": "fc"}
    for ours, stage, block in stages(network.blocks):
        theirs = f"layer{stage + 1}.{block}"
        if block == 0 and (stage > 0 or network.bottleneck):
            table |= pair(f"{ours}.skip", f"{theirs}.downsample.0", f"{theirs}.downsample.1")
        for conv in range(3 if network.bottleneck else 2):
            names = (f"{theirs}.{kind}{conv + 1}" for kind in ("conv", "bn"))
            table |= pair(f"{ours}.convs.{conv}", *names)
    return table


def resnet_cifar(network: keras.Model) -> Table:
    table = {**pair("stem", "conv1", "bn1"), "head.dense": "linear"}
    for ours, stage, block in stages([network.blocks] * 3):
        theirs = f"layer{stage + 1}.{block}"
        table |= pair(f"{ours}.conv1", f"{theirs}.conv1", f"{theirs}.bn1")
        table |= pair(f"{ours}.conv2", f"{theirs}.conv2", f"{theirs}.bn2")
    return table


def squeezenet(network: keras.Model) -> Table:
    """Theirs counts ReLUs and poolings, too: a fire module lies where ours has a stage."""
    table = {"stages.0": "features.0", "head.conv10": "classifier.1"}
    for number, stage in enumerate(network.stages):
        if hasattr(stage, "squeeze"):
            for part in ("squeeze", "expand1x1", "expand3x3"):
                table[f"stages.{number}.{part}"] = f"features.{number + 1}.{part}"
    return table


def shufflenet_v2(network: keras.Model) -> Table:
    table = {**pair("stem", "conv1.0", "conv1.1"), **pair("last_conv", "conv5.0", "conv5.1")}
    for ours, stage, unit in stages(network.units):
        theirs = f"stage{stage + 2}.{unit}"
        for branch, starts in (("branch1", (0, 2)), ("branch2", (0, 3, 5))):
            if branch == "branch1" and unit > 0:
                continue
            for layer, n in enumerate(starts):
                names = (f"{theirs}.{branch}.{n}", f"{theirs}.{branch}.{n + 1}")
                table |= pair(f"{ours}.{branch}.{layer}", *names)
    return table | {"head.dense": "fc"}


ALEXNET = Donor(
    alexnet,
    TORCH,
    options={"one_tower": True},
    classifier="classifier.6",
    flattened={"classifier.1": 256},
)
SHUFFLENET = Donor(shufflenet_v2, TORCH, classifier="fc")
CIFAR = Donor(resnet_cifar, TORCH, 32, {"padding": "torch"}, "cifar10", classifier="linear")
RESNET = Donor(resnet, TORCH, options={"stride_on": "3x3"}, classifier="fc")
SQUEEZENET = Donor(squeezenet, TORCH, classifier="classifier.1")
VGG = Donor(vgg, TORCH, classifier="classifier.6", flattened={"classifier.0": 512})

# fmt: off
DONORS = {
    "alexnet": ALEXNET,
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), VGG),
    **dict.fromkeys(("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"), VGG),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), RESNET),
    "resnext50_32x4d": RESNET,
    **dict.fromkeys(("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), CIFAR),
    **{f"shufflenet_v2_x{width}": SHUFFLENET for width in ("0_5", "1_0", "1_5", "2_0")},
    **dict.fromkeys(("squeezenet1_0", "squeezenet1_1"), SQUEEZENET),
}
# fmt: on
