"""The networks, by name. Imports nothing of ours from outside this package."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

# Before TensorFlow is imported, which leaves oneDNN out on CPUs without AVX-512.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras

from models.audio import bc_resnet, cnn14, ds_cnn, keyword_cnn, tc_resnet
from models.audio.frequency_cnn import FrequencyCNN
from models.image import (
    alexnet,
    densenet,
    googlenet,
    inception_resnet_v2,
    inception_v3,
    lenet,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    nin,
    pattern_cnn,
    resnet,
    resnet_cifar,
    resnet_v2,
    separable_cnn,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    vgg,
    xception,
    zfnet,
)
from models.text import char_cnn, gated_cnn, kim_cnn, separable_text_cnn, tcn, vdcnn


class Architecture(NamedTuple):
    domain: str  # "image", "audio" or "text"
    network: Callable[..., keras.Model]
    options: Mapping[str, Any]  # what the paper's table says for this name
    input_shape: tuple[int | None, ...]  # of one example, as the paper has it
    paper: str
    inputs: Mapping[str, Any] = MappingProxyType({})  # preprocessing's arguments, over its own


def _family(
    domain: str,
    network: Callable[..., keras.Model],
    variants: Mapping[str, Mapping[str, Any]],
    input_shape: tuple[int | None, ...],
    paper: str,
    inputs: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Architecture]:
    return {
        name: Architecture(domain, network, options, input_shape, paper, inputs)
        for name, options in variants.items()
    }


DIGIT, SMALL, LARGE, LARGER = (32, 32, 1), (32, 32, 3), (224, 224, 3), (299, 299, 3)
WORDS, CHARACTERS = (None,), (1024,)

# fmt: off
ARCHITECTURES = {
    **_family("audio", FrequencyCNN, {"frequency_cnn": {}}, (None, 40), "Abdel-Hamid 2014"),
    **_family("audio", keyword_cnn.KeywordCNN, keyword_cnn.VARIANTS, (32, 40),
              "Sainath & Parada 2015"),
    **_family("audio", ds_cnn.DSCNN, ds_cnn.VARIANTS, (49, 10), "Zhang 2017"),
    **_family("audio", tc_resnet.TCResNet, tc_resnet.VARIANTS, (98, 40), "Choi 2019"),
    **_family("audio", bc_resnet.BCResNet, bc_resnet.VARIANTS, (101, 40), "Kim 2021"),
    **_family("audio", cnn14.CNN14, cnn14.VARIANTS, (1001, 64), "Kong 2020"),
    **_family("text", kim_cnn.KimCNN, kim_cnn.VARIANTS, WORDS, "Kim 2014"),
    **_family("text", char_cnn.CharCNN, char_cnn.VARIANTS, (char_cnn.LENGTH,), "Zhang 2015",
              char_cnn.INPUTS),
    **_family("text", vdcnn.VDCNN, vdcnn.VARIANTS, CHARACTERS, "Conneau 2017", vdcnn.INPUTS),
    **_family("text", gated_cnn.GatedCNN, gated_cnn.VARIANTS, WORDS, "Dauphin 2017"),
    **_family("text", tcn.TCN, tcn.VARIANTS, WORDS, "Bai 2018"),
    **_family("text", separable_text_cnn.SeparableTextCNN, separable_text_cnn.VARIANTS, WORDS,
              "Google 2018"),
    **_family("image", lenet.LeNet5, lenet.VARIANTS, DIGIT, "LeCun 1998"),
    **_family("image", alexnet.AlexNet, alexnet.VARIANTS, LARGE, "Krizhevsky 2012"),
    **_family("image", zfnet.ZFNet, zfnet.VARIANTS, LARGE, "Zeiler 2014"),
    **_family("image", nin.NIN, nin.VARIANTS, SMALL, "Lin 2014"),
    **_family("image", vgg.VGG, vgg.VARIANTS, LARGE, "Simonyan 2015"),
    **_family("image", googlenet.GoogLeNet, googlenet.VARIANTS, LARGE, "Szegedy 2015"),
    **_family("image", inception_v3.InceptionV3, inception_v3.VARIANTS, LARGER, "Szegedy 2016"),
    **_family("image", inception_resnet_v2.InceptionResNetV2, inception_resnet_v2.VARIANTS, LARGER,
              "Szegedy 2017"),
    **_family("image", resnet.ResNet, resnet.VARIANTS, LARGE, "He 2015"),
    **_family("image", resnet.ResNet, resnet.RESNEXT, LARGE, "Xie 2017"),
    **_family("image", resnet.ResNet, resnet.SE_RESNET, LARGE, "Hu 2018"),
    **_family("image", resnet_cifar.ResNetCifar, resnet_cifar.VARIANTS, SMALL, "He 2015"),
    **_family("image", resnet_v2.ResNetV2, resnet_v2.VARIANTS, LARGE, "He 2016"),
    **_family("image", densenet.DenseNet, densenet.VARIANTS, LARGE, "Huang 2017"),
    **_family("image", densenet.DenseNet, densenet.CIFAR, SMALL, "Huang 2017"),
    **_family("image", squeezenet.SqueezeNet, squeezenet.VARIANTS, LARGE, "Iandola 2016"),
    **_family("image", xception.Xception, xception.VARIANTS, LARGER, "Chollet 2017"),
    **_family("image", mobilenet.MobileNet, mobilenet.VARIANTS, LARGE, "Howard 2017"),
    **_family("image", mobilenet_v2.MobileNetV2, mobilenet_v2.VARIANTS, LARGE, "Sandler 2018"),
    **_family("image", mobilenet_v3.MobileNetV3, mobilenet_v3.VARIANTS, LARGE, "Howard 2019"),
    **_family("image", shufflenet_v1.ShuffleNetV1, shufflenet_v1.VARIANTS, LARGE, "Zhang 2018"),
    **_family("image", shufflenet_v2.ShuffleNetV2, shufflenet_v2.VARIANTS, LARGE, "Ma 2018"),
    **_family("image", separable_cnn.SeparableCNN, {"separable_cnn": {}}, SMALL, "Chollet 2018"),
    **_family("image", pattern_cnn.PatternCNN, pattern_cnn.VARIANTS, SMALL, "cs231n"),
}
# fmt: on


def create_model(name: str, num_classes: int, **options: Any) -> keras.Model:
    """A fresh network.

    Args:    name: one of `list_models()`; num_classes: K, the logits it gives;
             options: arguments of the architecture's constructor, over the paper's own.
    Raises:  ValueError for an unknown name, naming the known ones.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"no architecture {name!r}; there are: {', '.join(list_models())}")
    architecture = ARCHITECTURES[name]
    return architecture.network(num_classes, **{**architecture.options, **options})


def list_models(domain: str | None = None) -> list[str]:
    """The names that `create_model` takes, sorted; of one domain, if given."""
    return sorted(name for name, a in ARCHITECTURES.items() if domain in (None, a.domain))
