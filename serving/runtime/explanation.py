"""What in an input speaks for a class: maps of what the artefact's `explain` endpoint gives.

The endpoint has the gradients (its text says which), NumPy makes the methods' maps of them, and
`serving.runtime.pictures` draws them. No network, no Keras.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import InvalidInput
from serving.runtime.executors import Outputs
from serving.runtime.pictures import draw
from serving.runtime.servable import EXPLAIN, Servable

TOKENS = "tokens"  # the endpoint that a text's artefact has beside it
BEST_CLASS = -1  # for the endpoint
DEFAULT_METHOD = "grad-cam"
MOST_VALUES = 250_000  # of a map: a megabyte of answer, and a thousand times that of activations

Map = npt.NDArray[np.float32]


class Explanation(NamedTuple):
    """values: [H, W] of an image, [T, F] of a sound, [T] of a text, whose tokens there are then."""

    class_id: int
    score: float
    values: Map
    tokens: Sequence[str]
    png: bytes
    preprocess_us: int
    gradients_us: int
    drawing_us: int

    @property
    def total_us(self) -> int:
        return self.preprocess_us + self.gradients_us + self.drawing_us


def explain(servable: Servable, item: bytes | str, method: str, class_id: int) -> Explanation:
    """Blocking: as long as a training step of one example.

    Args:   servable: of a version with the endpoint; class_id: or BEST_CLASS.
    Raises: InvalidInput if the input cannot be read or is too large, if there is no such method, or
            the network cannot have it.
    """
    require_method(method)
    started = time.perf_counter_ns()
    decoded = servable.decode(item)
    example = servable.preprocess(decoded)
    tokens = _tokens(servable, decoded) if isinstance(decoded, str) else []
    positions = (len(tokens),) if isinstance(decoded, str) else example.shape[:2]
    if not all(positions):
        raise InvalidInput("there is nothing in the input to explain: send one that is not empty")
    if np.prod(positions) > MOST_VALUES:
        raise InvalidInput(
            f"its map would have {np.prod(positions):,} values, and {MOST_VALUES:,} are allowed: "
            "send a part of it"
        )
    preprocessed = time.perf_counter_ns()
    outputs = servable.run(
        EXPLAIN,
        {"examples": example[np.newaxis], "class_ids": np.array([class_id], np.int32)},
    )
    computed = time.perf_counter_ns()
    values = heat_map(method, outputs, example.shape)[: len(tokens) or None]
    if not np.isfinite(values).all():
        raise ValueError("the network's gradients are not numbers")
    png = draw(values, example, decoded, tokens)
    chosen = int(outputs["class_ids"][0])
    return Explanation(
        chosen,
        float(outputs["scores"][0, chosen]),
        values,
        tokens,
        png,
        (preprocessed - started) // 1000,
        (computed - preprocessed) // 1000,
        (time.perf_counter_ns() - computed) // 1000,
    )


def require_method(method: str) -> None:
    """Raises: InvalidInput, with those that there are."""
    if method not in METHODS:
        raise InvalidInput(f"no method is named {method[:100]!r}: there are {', '.join(METHODS)}")


def heat_map(method: str, outputs: Outputs, shape: Sequence[int]) -> Map:
    """Of the first example: [H, W], [T, F], or [T].

    Args:   outputs: of the endpoint; shape: of one example, without batch axis.
    Raises: InvalidInput if the network cannot have such a map.
    """
    # OpenBLAS now and then flags a product of numbers as invalid that is none (numpy issue 24067).
    with np.errstate(invalid="ignore"):
        values = METHODS[method](outputs)
    positions = tuple(shape[:2])
    return values if values.shape == positions else _resized(values, positions)


def grad_cam(outputs: Outputs) -> Map:
    """Each feature weighted by its mean gradient, and what is negative left out.

    Source: Selvaraju 2017, section 3, arXiv 1610.02391.
    """
    features, gradients = outputs["features"][0], outputs["feature_gradients"][0]
    return _positive(features @ gradients.mean(axis=_places(gradients)))


def grad_cam_plus_plus(outputs: Outputs) -> Map:
    """As Grad-CAM, but by the weighted mean of positive gradients, so that each of several
    places counts.

    Source:  Chattopadhay 2018, equations 10, 11 and 19, arXiv 1710.11063.
    Differs: the class's score is not its exponential: the factor, one for the whole map, is left
             out.
    """
    features, gradients = outputs["features"][0], outputs["feature_gradients"][0]
    places = _places(gradients)
    square = gradients**2
    below = 2 * square + features.sum(axis=places) * gradients**3
    shares = np.divide(square, below, out=np.zeros_like(square), where=below != 0)
    return _positive(features @ (shares * _positive(gradients)).sum(axis=places))


def cam(outputs: Outputs) -> Map:
    """Each feature weighted as the last layer weighs it: what a position adds to the logit, times
    the number of positions, negative or not.

    Source: Zhou 2016, section 2, arXiv 1512.04150.
    """
    if "class_weights" not in outputs:
        raise InvalidInput(
            "there is no cam of this network: between its last maps and the classes is more than "
            "an average and a fully connected layer. Ask for grad-cam, which is what is positive "
            "in it where both exist"
        )
    values: Map = outputs["features"][0] @ outputs["class_weights"][0]
    return values


def saliency(outputs: Outputs) -> Map:
    """How much the logit changes with the input; of a picture's channels the most.

    Source: Simonyan 2014, section 3.1, arXiv 1312.6034.
    """
    values: Map = np.abs(outputs["input_gradients"][0])
    return values.max(axis=-1) if values.ndim == 3 else values


METHODS: dict[str, Callable[[Outputs], Map]] = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "cam": cam,
    "saliency": saliency,
}


def _places(features: npt.NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(range(features.ndim - 1))


def _positive(values: Map) -> Map:
    return np.maximum(values, 0)


def _resized(values: Map, positions: tuple[int, ...]) -> Map:
    """Bilinear. A map along time alone is the same for all bands."""
    height, width = (*positions, 1)[:2]
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    resized = Image.fromarray(flat).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32).reshape(positions)


def _tokens(servable: Servable, text: str) -> list[str]:
    tokens = servable.run(TOKENS, {"text": np.array(text, object)})["tokens"]
    return [token.decode() for token in tokens]
