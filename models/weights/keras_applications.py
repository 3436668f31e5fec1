"""keras.applications -> our networks. Keras itself builds theirs and reads its files.

A row says where a layer hangs in our network and what it is called there.
"""

import re
from collections import defaultdict
from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from models.weights.carry import Table, Weights, WeightsError, carry, weighted_layers
from models.weights.donor import CAFFE, SYMMETRIC, TORCH, Donor, pair, stages

SUFFIXES = (".h5", ".hdf5", ".keras")
UNNAMED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")


def build(donor: Donor, weights: str | None, num_classes: int, **options) -> keras.Model:
    """Theirs, giving logits.

    Args:    weights: a file, "imagenet" to download it, or None for random ones.
    Raises:  WeightsError if Keras cannot.
    """
    application = getattr(keras.applications, donor.application)
    if donor.application.startswith("MobileNetV3"):
        options["include_preprocessing"] = False  # ours takes what theirs makes of it
    try:
        return application(
            weights=weights, classes=num_classes, classifier_activation=None, **options
        )
    except Exception as error:  # whatever the readers of its formats raise
        raise WeightsError(
            f"keras.applications.{donor.application} cannot take {weights} with {num_classes}"
            f" classes: {error}"
        ) from error


def carry_application(network: keras.Model, application: keras.Model, donor: Donor) -> None:
    """Set every weight of the network from theirs.  Raises: WeightsError."""
    table = donor.table(network)
    theirs = {
        name: {weight.name: keras.ops.convert_to_numpy(weight) for weight in layer.weights}
        for name, layer in _named(application.layers).items()
    }
    carry(network, _folded(theirs, weighted_layers(network), table), table, _convert)


def _named(of: list[layers.Layer]) -> dict[str, layers.Layer]:
    """By name; those that Keras named are counted in the order of their making, from 1."""
    weighted = {layer.name: layer for layer in of if layer.weights}
    counts: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in weighted:
        if found := UNNAMED.fullmatch(name):
            counts[found[1]].append((int(found[2] or 0), name))
    for kind, numbers in counts.items():
        renamed = {name: f"{kind} {i + 1}" for i, (_, name) in enumerate(sorted(numbers))}
        weighted = {renamed.get(name, name): layer for name, layer in weighted.items()}
    return weighted


def _folded(theirs: Mapping[str, Weights], ours: Mapping[str, layers.Layer], table: Table):
    """A bias before a batch norm only moves its mean: where ours has none, it is moved there."""
    folded = dict(theirs)
    for path, name in table.items():
        norm = table.get(f"{path.removesuffix('conv')}norm")
        if not path.endswith("conv") or norm is None or path not in ours:
            continue
        bias = theirs.get(name, {}).get("bias")
        if bias is not None and not ours[path].use_bias:
            folded[name] = {"kernel": theirs[name]["kernel"]}
            mean = theirs[norm]["moving_mean"] - bias
            folded[norm] = {**theirs[norm], "moving_mean": mean}
    return folded


def _convert(layer: layers.Layer, name: str, weights: Weights) -> Weights:
    if isinstance(layer, layers.Dense) and np.ndim(weights.get("kernel")) == 4:
        return {**weights, "kernel": weights["kernel"][0, 0]}  # a 1x1 convolution
    return weights


def vgg(network: keras.Model) -> Table:
    table = {"fc.0": "fc1", "fc.1": "fc2", "head": "predictions"}
    for stage, count in enumerate(network.convs):
        for conv in range(count):
            table[f"stages.{stage}.{conv}.conv"] = f"block{stage + 1}_conv{conv + 1}"
    return table


def resnet(network: keras.Model) -> Table:
    table = {**pair("stem", "conv1_conv", "conv1_bn"), "head.dense": "predictions"}
    for ours, stage, block in stages(network.blocks):
        theirs = f"conv{stage + 2}_block{block + 1}"
        if block == 0:
            table |= pair(f"{ours}.skip", f"{theirs}_0_conv", f"{theirs}_0_bn")
        for conv in range(3):
            name = f"{theirs}_{conv + 1}"
            table |= pair(f"{ours}.convs.{conv}", f"{name}_conv", f"{name}_bn")
    return table


def resnet_v2(network: keras.Model) -> Table:
    """The convolutions that no batch norm follows keep their biases, as theirs."""
    table = {"stem.1": "conv1_conv", "norm": "post_bn", "head.dense": "predictions"}
    for ours, stage, block in stages(network.blocks):
        theirs = f"conv{stage + 2}_block{block + 1}"
        table[f"{ours}.norm"] = f"{theirs}_preact_bn"
        if block == 0:
            table[f"{ours}.skip"] = f"{theirs}_0_conv"
        for conv in (1, 2):
            name = f"{theirs}_{conv}"
            table |= pair(f"{ours}.conv{conv}", f"{name}_conv", f"{name}_bn")
        table[f"{ours}.conv3"] = f"{theirs}_3_conv"
    return table


def densenet(network: keras.Model) -> Table:
    table = {**pair("stem.0", "conv1_conv", "conv1_bn"), "norm": "bn", "head.dense": "predictions"}
    number = 0  # dense layers and transitions hang in one row
    for stage, count in enumerate(network.blocks):
        if stage:
            table |= pair(f"stages.{number}", f"pool{stage + 1}_conv", f"pool{stage + 1}_bn")
            number += 1
        for layer in range(count):
            ours, theirs = f"stages.{number}", f"conv{stage + 2}_block{layer + 1}"
            table |= {f"{ours}.norm": f"{theirs}_0_bn", f"{ours}.conv2": f"{theirs}_2_conv"}
            table |= pair(f"{ours}.conv1", f"{theirs}_1_conv", f"{theirs}_1_bn")
            number += 1
    return table


def inception_v3(network: keras.Model) -> Table:
    """Theirs have no names; both are made branch by branch, from left to right."""
    convs = [path for path in weighted_layers(network) if path.endswith(".conv")]
    table = {"head.dense": "predictions"}
    for number, path in enumerate(convs, start=1):
        table |= pair(
            path.removesuffix(".conv"), f"conv2d {number}", f"batch_normalization {number}"
        )
    return table


def inception_resnet_v2(network: keras.Model) -> Table:
    """As Inception v3; only what ends a module, and the last convolution, has a name."""
    modules = [path for path in weighted_layers(network) if path.endswith(".up")]
    names = (
        f"block{side}_{number}_conv"
        for side, row in zip((35, 17, 8), network.rows, strict=True)
        for number in range(1, row.modules + 1)
    )
    table = inception_v3(network) | pair("last", "conv_7b", "conv_7b_bn")
    return table | dict(zip(modules, names, strict=True))


def xception(network: keras.Model) -> Table:
    table = {"head.dense": "predictions"}
    for number in (1, 2):
        theirs = f"block1_conv{number}"
        table |= pair(f"stem.{number - 1}", theirs, f"{theirs}_bn")
    down = [*(f"entry.{i}" for i in range(len(network.entry))), "exit"]
    for number, ours in enumerate(down, start=1):
        table |= pair(f"{ours}.skip", f"conv2d {number}", f"batch_normalization {number}")
    separable = [[f"{ours}.conv1", f"{ours}.conv2"] for ours in down]
    separable[-1:-1] = [
        [f"middle.{i}.convs.{j}" for j in range(3)] for i in range(len(network.middle))
    ]
    separable += [["last.0", "last.1"]]
    for block, convs in enumerate(separable, start=2):
        for number, ours in enumerate(convs, start=1):
            theirs = f"block{block}_sepconv{number}"
            table |= pair(ours, theirs, f"{theirs}_bn")
    return table


def mobilenet(network: keras.Model) -> Table:
    table = {**pair("stem", "conv1", "conv1_bn"), "head.dense": "conv_preds"}
    for number in range(len(network.stages)):
        for ours, theirs in (("depthwise", "conv_dw"), ("pointwise", "conv_pw")):
            name = f"{theirs}_{number + 1}"
            table |= pair(f"stages.{number}.{ours}", name, f"{name}_bn")
    return table


def mobilenet_v2(network: keras.Model) -> Table:
    table = {**pair("stem", "Conv1", "bn_Conv1"), **pair("last", "Conv_1", "Conv_1_bn")}
    for number in range(len(network.stages)):
        theirs = f"block_{number}" if number else "expanded_conv"
        for part in ("expand", "depthwise", "project") if number else ("depthwise", "project"):
            name = f"{theirs}_{part}"
            table |= pair(f"stages.{number}.{part}", name, f"{name}_BN")
    return table | {"head.dense": "predictions"}


def mobilenet_v3(network: keras.Model) -> Table:
    table = {**pair("stem", "conv", "conv_bn"), **pair("last", "conv_1", "conv_1_bn")}
    for number, block in enumerate(network.stages):
        theirs = f"expanded_conv_{number}" if number else "expanded_conv"
        for layer, part in ((0, "expand"), (1, "depthwise"), (3, "project")):
            if block.layers[layer]:
                name = f"{theirs}_{part}"
                table |= pair(f"stages.{number}.layers.{layer}", name, f"{name}_bn")
        if block.layers[2]:
            table[f"stages.{number}.layers.2.squeeze"] = f"{theirs}_squeeze_excite_conv"
            table[f"stages.{number}.layers.2.excite"] = f"{theirs}_squeeze_excite_conv_1"
    return table | {"fc": "conv_2", "head.dense": "logits"}


RESNET_OPTIONS = {"epsilon": 1.001e-5}

DONORS = {
    "vgg16": Donor(vgg, CAFFE, application="VGG16"),
    "vgg19": Donor(vgg, CAFFE, application="VGG19"),
    "resnet50": Donor(resnet, CAFFE, options=RESNET_OPTIONS, application="ResNet50"),
    "resnet101": Donor(resnet, CAFFE, options=RESNET_OPTIONS, application="ResNet101"),
    "resnet152": Donor(resnet, CAFFE, options=RESNET_OPTIONS, application="ResNet152"),
    "resnet50v2": Donor(resnet_v2, SYMMETRIC, application="ResNet50V2"),
    "resnet101v2": Donor(resnet_v2, SYMMETRIC, application="ResNet101V2"),
    "resnet152v2": Donor(resnet_v2, SYMMETRIC, application="ResNet152V2"),
    "densenet121": Donor(densenet, TORCH, application="DenseNet121"),
    "densenet169": Donor(densenet, TORCH, application="DenseNet169"),
    "densenet201": Donor(densenet, TORCH, application="DenseNet201"),
    "inception_v3": Donor(inception_v3, SYMMETRIC, 299, application="InceptionV3"),
    "inception_resnet_v2": Donor(
        inception_resnet_v2, SYMMETRIC, 299, application="InceptionResNetV2"
    ),
    "mobilenet": Donor(mobilenet, SYMMETRIC, application="MobileNet"),
    "mobilenet_v2": Donor(mobilenet_v2, SYMMETRIC, application="MobileNetV2"),
    "mobilenet_v3_large": Donor(mobilenet_v3, SYMMETRIC, application="MobileNetV3Large"),
    "mobilenet_v3_small": Donor(mobilenet_v3, SYMMETRIC, application="MobileNetV3Small"),
    "xception": Donor(xception, SYMMETRIC, 299, application="Xception"),
}
