"""What training does to a picture or text before each epoch, so that none comes twice the same.

Sounds: sound_augmentation.py.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.preprocessing.text import PADDING_ID, UNKNOWN_ID

OfOne = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Augmentation = Callable[[Sequence[np.ndarray], np.random.Generator], list[np.ndarray]]  # a batch's


def crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random crop out of the picture padded by an eighth.  float32 [h, w, C] -> the same

    Source: He 2015, section 4.2, arXiv 1512.03385: 4 pixels on each side of 32.
    """
    height, width, _ = image.shape
    down, right = height // 8, width // 8
    padded = np.pad(image, ((down, down), (right, right), (0, 0)))
    top, left = rng.integers(2 * down + 1), rng.integers(2 * right + 1)
    return padded[top : top + height, left : left + width]


def crop_and_flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`crop`, and in half of all cases left and right swapped."""
    image = crop(image, rng)
    return image[:, ::-1] if rng.random() < 0.5 else image


def drop_words(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One token in twenty becomes unknown, so that this has a vector.  int32 [T] -> same"""
    dropped = (rng.random(tokens.shape) < 0.05) & (tokens != PADDING_ID)
    return np.where(dropped, np.int32(UNKNOWN_ID), tokens)


def of_each(change: OfOne) -> Augmentation:
    """What changes one example, for a batch of them."""
    return lambda examples, rng: [change(example, rng) for example in examples]


AUGMENTATIONS: dict[str, OfOne] = {
    "image": crop_and_flip,
    "text": drop_words,
}
