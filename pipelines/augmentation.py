"""What training does to an example before each epoch, so that none comes twice the same."""

from collections.abc import Callable

import numpy as np

from pipelines.preprocessing.text import PADDING_ID, UNKNOWN_ID

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


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


def mask_spectrogram(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Louder or softer, some mel bands and some frames at the mean.  float32 [T, F] -> the same

    Source:  Park 2019, section 2, arXiv 1904.08779 (SpecAugment), without time warping.
    """
    frames = frames + np.float32(rng.normal(0.0, 0.2))
    time, bands = frames.shape
    width, length = rng.integers(bands // 6 + 1), rng.integers(time // 6 + 1)
    start, first = rng.integers(bands - width + 1), rng.integers(time - length + 1)
    frames[:, start : start + width] = 0.0
    frames[first : first + length] = 0.0
    return frames


def drop_words(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One token in twenty becomes unknown, so that this has a vector.  int32 [T] -> same"""
    dropped = (rng.random(tokens.shape) < 0.05) & (tokens != PADDING_ID)
    return np.where(dropped, np.int32(UNKNOWN_ID), tokens)


AUGMENTATIONS: dict[str, Augmentation] = {
    "audio": mask_spectrogram,
    "image": crop_and_flip,
    "text": drop_words,
}
