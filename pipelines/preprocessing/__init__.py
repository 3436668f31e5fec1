"""Raw input -> one example, in graph ops: the same object trains, is exported, and serves.

What a kind of input needs is one class here, with this shape:

    domain                          "image", "audio" or "text"
    preprocess(decoded) -> example  the endpoint; no batch axis
    decode(encoded) -> decoded      a tf.string of a file's bytes or text, in TensorFlow alone,
                                    for the `classify` endpoint; fewer formats than
                                    serving.runtime.decoding, which everything else uses
    spec() -> InputSpec             for the manifest
    decoded_spec, example_spec      TensorSpecs without a batch axis
    get_config() / from_config()    plain JSON
    fit(examples) -> itself         takes means, or a vocabulary, from the training examples
"""

from collections.abc import Mapping
from typing import Any

from pipelines.preprocessing.audio import AudioPreprocessing
from pipelines.preprocessing.image import ImagePreprocessing
from pipelines.preprocessing.text import TextPreprocessing

Preprocessing = AudioPreprocessing | ImagePreprocessing | TextPreprocessing

PREPROCESSING: dict[str, type[Preprocessing]] = {
    "audio": AudioPreprocessing,
    "image": ImagePreprocessing,
    "text": TextPreprocessing,
}


def from_config(domain: str, config: Mapping[str, Any]) -> Preprocessing:
    """The object that `get_config` described."""
    return PREPROCESSING[domain](**config)
