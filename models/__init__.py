"""The networks, by name. Imports nothing of ours from outside this package."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras

from models.audio.frequency_cnn import FrequencyCNN
from models.image import resnet_cifar
from models.image.resnet_cifar import ResNetCifar
from models.image.separable_cnn import SeparableCNN
from models.text.kim_cnn import KimCNN


class Architecture(NamedTuple):
    domain: str  # "image", "audio" or "text"
    network: Callable[..., keras.Model]
    options: Mapping[str, Any]  # what the paper's table says for this name
    input_shape: tuple[int | None, ...]  # of one example, as the paper has it
    paper: str


def _family(
    domain: str,
    network: Callable[..., keras.Model],
    variants: Mapping[str, Mapping[str, Any]],
    input_shape: tuple[int | None, ...],
    paper: str,
) -> dict[str, Architecture]:
    return {
        name: Architecture(domain, network, options, input_shape, paper)
        for name, options in variants.items()
    }


CIFAR, IMAGENET = (32, 32, 3), (224, 224, 3)

# fmt: off
ARCHITECTURES = {
    **_family("audio", FrequencyCNN, {"frequency_cnn": {}}, (None, 40), "Abdel-Hamid 2014"),
    **_family("text", KimCNN, {"kim_cnn": {}}, (None,), "Kim 2014"),
    **_family("image", SeparableCNN, {"separable_cnn": {}}, CIFAR, "Chollet 2018"),
    **_family("image", ResNetCifar, resnet_cifar.VARIANTS, CIFAR, "He 2015"),
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
