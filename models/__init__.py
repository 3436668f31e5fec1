"""The networks, by name. Imports nothing of ours from outside this package."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras

from models.audio import frequency_cnn
from models.image import resnet_cifar, separable_cnn
from models.text import kim_cnn


class Architecture(NamedTuple):
    domain: str  # "image", "audio" or "text"
    network: Callable[..., keras.Model]
    options: Mapping[str, Any]  # what the paper's table says for this name


ARCHITECTURES = {
    "frequency_cnn": Architecture("audio", frequency_cnn.FrequencyCNN, {}),
    "kim_cnn": Architecture("text", kim_cnn.KimCNN, {}),
    "separable_cnn": Architecture("image", separable_cnn.SeparableCNN, {}),
    **{
        name: Architecture("image", resnet_cifar.ResNetCifar, options)
        for name, options in resnet_cifar.VARIANTS.items()
    },
}


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
