"""The n-gram that a text network's unit likes best: found among all vectors, then put in words."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines.explain.ascent import ascend
from pipelines.explain.network import Network
from pipelines.preprocessing.text import FIRST_ID, UNKNOWN_ID

STARTS = 8  # the best of so many ascents, from different vectors


class NGram(NamedTuple):
    words: list[str]
    activation: float  # of the unit, by these words
    ideal: float  # by the vectors that excite it most, which no words have
    history: np.ndarray  # [steps, 2]: before and after each step, of that ascent


def nearest_ngram(
    network: Network,
    layer: str | None,
    unit: int,
    length: int,
    steps: int = 64,
    step_size: float = 0.2,
    seed: int = 0,
) -> NGram:
    """Vectors that excite the unit most, no longer than words are; of each, the word that points
    its way.

    Args:    layer: None for the classes; length: words. The unit's degree is its highest number
             along the text, as max pooling takes it.
    """
    output = network.model.output if layer is None else network.layer(layer)
    words = network.embed(np.arange(len(network.inputs.vocabulary), dtype=np.int32)[None])[0]
    lengths = tf.norm(words[FIRST_ID:], axis=-1)
    longest = float(tf.reduce_mean(lengths))
    tokens = tf.fill([STARTS, length], UNKNOWN_ID)
    sizes = [x.shape[-1] for x in network.embedded]
    after = keras.Model([network.model.input, *network.embedded], output)

    def objective(vectors: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        outputs = after([tokens, *tf.split(vectors, sizes, axis=-1)], training=False)[..., unit]
        return tf.reduce_max(tf.reshape(outputs, [STARTS, -1]), axis=1)

    def as_long_as_words(vectors: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_norm(vectors, longest, axes=[-1])

    shape = (STARTS, length, words.shape[-1])
    start = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    found = ascend(objective, start, steps, step_size * longest, as_long_as_words, seed)
    best = int(found.history[-1, 1].argmax())
    nearest = _nearest(found.inputs[best], words[FIRST_ID:].numpy()) + FIRST_ID
    features = keras.Model(network.model.input, output)
    reached = features(nearest[None].astype(np.int32), training=False)[..., unit]
    return NGram(
        [network.inputs.vocabulary[number] for number in nearest],
        float(tf.reduce_max(reached)),
        float(found.history[-1, 1, best]),
        found.history[:, :, best],
    )


def _nearest(vectors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """By the cosine.  [T, D], [V, D] -> [T]"""
    lengths = np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-9)
    return (vectors @ (words / lengths).T).argmax(axis=1)
