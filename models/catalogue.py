"""What the registered networks cost: in their paper's form, or with other options.

Networks are built by shapes alone here. No weight is drawn, so VGG takes no longer than LeNet.
"""

import re
from typing import Any

from models import ARCHITECTURES, Architecture, create_model, list_models
from models.cost import Cost, cost
from models.graph import shapes_only

# Where the paper's input has no size of its own: a second of sound, a sentence; and for words.
FRAMES, TOKENS, VOCABULARY = 100, 64, 10_000
LARGE = 64  # pixels; papers on larger pictures have ImageNet's classes
LARGE_CLASSES, SMALL_CLASSES = 1000, 10


def priced(
    name: str, size: int | None = None, num_classes: int | None = None, **options: Any
) -> Cost:
    """The cost of a registered network for one example.

    Args:    size: pixels of a side, or frames or tokens of a sound or text; None: the paper's,
             or FRAMES or TOKENS; num_classes: None: 1000 if the paper's pictures are as large
             as ImageNet's, or else 10; options: of the constructor, over the paper's own.
    Raises:  ValueError for an unknown name or option, or an input that the network can't take.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"no architecture {name!r}; there are: {', '.join(list_models())}")
    architecture = ARCHITECTURES[name]
    shape = _shape(architecture, size)
    if architecture.domain == "text":
        options = {"vocabulary_size": _vocabulary_size(architecture), **options}
    with shapes_only():
        try:
            network = create_model(name, num_classes or _classes(architecture), **options)
            return cost(network, shape, "int32" if architecture.domain == "text" else "float32")
        except (TypeError, ValueError) as error:
            form = " x ".join(map(str, shape))
            raise ValueError(
                f"{name} cannot be built with {options or 'its defaults'} for {form}:"
                f" {_reason(error)}"
            ) from error


def _shape(architecture: Architecture, size: int | None) -> tuple[int, ...]:
    if architecture.domain == "image":
        height, width, channels = architecture.input_shape
        return size or height, size or width, channels
    length, *rest = architecture.input_shape
    return size or length or (FRAMES if architecture.domain == "audio" else TOKENS), *rest


def _vocabulary_size(architecture: Architecture) -> int:
    """Of the paper's alphabet, with padding and unknown tokens; or of words."""
    alphabet = architecture.inputs.get("vocabulary")
    return 2 + len(alphabet) if alphabet else VOCABULARY


def _classes(architecture: Architecture) -> int:
    large = architecture.domain == "image" and architecture.input_shape[0] > LARGE
    return LARGE_CLASSES if large else SMALL_CLASSES


def _reason(error: Exception) -> str:
    """One line; Keras puts a heading above what was wrong inside a layer."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    heading = len(lines) > 1 and lines[0].startswith("Exception encountered")
    return re.sub(r"\x1b\[\d+m", "", lines[heading]) if lines else type(error).__name__
