"""Unicode NFKC and case folding in graph ops, from the tables of Python's unicodedata.

TensorFlow's own lower-casing and regular expressions stop at single code points, and its
normalisation lives in a library of its own. What a text means must not depend on how its
writer's keyboard composes é, on full-width letters, or on capitals outside ASCII.
"""

import sys
import unicodedata
from functools import cache

import numpy as np
import tensorflow as tf

# A letter takes its marks one a round: the longest primary composites have two (ế), Hangul
# syllables two (vowel, final).
COMPOSITION_ROUNDS = 2
SHIFT = 2**21  # above the last code point


def normalise(text: str) -> str:
    """NFKC, case folding, NFKC.

    Source: Unicode 15, section 3.13, D146 (identifiers' caseless match), without the removal
            of ignorable code points.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


@cache
def _expansions() -> dict[int, list[int]]:
    """Each code point that normalise() changes -> the code points that it becomes."""
    changed = {}
    for code_point in range(0x80, sys.maxunicode + 1):
        if 0xD800 <= code_point < 0xE000:
            continue
        character = chr(code_point)
        folded = normalise(character)
        if folded != character:
            changed[code_point] = [ord(c) for c in folded]
    changed |= {ord(c): [ord(c.lower())] for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    return changed


@cache
def _compositions() -> dict[tuple[int, int], int]:
    """Pairs of code points -> the one that NFC makes of them, for text that is folded already."""
    pairs = {}
    for code_point in range(0xC0, sys.maxunicode + 1):
        if 0xD800 <= code_point < 0xE000:
            continue
        character = chr(code_point)
        if 0xAC00 <= code_point < 0xD7A4:  # Hangul syllables, decomposed by arithmetic
            index = code_point - 0xAC00
            final = index % 28
            if final:
                pairs[code_point - final, 0x11A7 + final] = code_point
            else:
                pairs[0x1100 + index // 588, 0x1161 + index % 588 // 28] = code_point
            continue
        parts = unicodedata.decomposition(character).split()
        composite = unicodedata.normalize("NFC", character) == character
        if len(parts) == 2 and composite and not parts[0].startswith("<"):
            pairs[int(parts[0], 16), int(parts[1], 16)] = code_point
    return pairs


def _table(keys: list[int], values: list[int]) -> tf.lookup.StaticHashTable:
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys, tf.int64), tf.constant(values, tf.int64)
    )
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


class NormaliseUnicode(tf.Module):
    """`normalise` as a graph.  string scalar -> string scalar

    Differs: marks that are not in canonical order are not sorted before they are composed.
    """

    def __init__(self) -> None:
        super().__init__()
        expansions = _expansions()
        self.index = _table(list(expansions), list(range(len(expansions))))
        lengths = [len(v) for v in expansions.values()]
        self.lengths = tf.constant(lengths, tf.int64)
        self.starts = tf.constant(np.cumsum([0, *lengths[:-1]]), tf.int64)
        self.values = tf.constant([c for v in expansions.values() for c in v], tf.int64)
        compositions = _compositions()
        self.composed = _table(
            [a * SHIFT + b for a, b in compositions], list(compositions.values())
        )

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        points = tf.cast(tf.strings.unicode_decode(text, "UTF-8"), tf.int64)
        points = self._expand(points)
        for _ in range(COMPOSITION_ROUNDS):
            points = self._compose(points)
        return tf.strings.unicode_encode(tf.cast(points, tf.int32), "UTF-8")

    def _expand(self, points: tf.Tensor) -> tf.Tensor:
        index = self.index.lookup(points)
        changed = index >= 0
        index = tf.maximum(index, 0)
        lengths = tf.where(changed, tf.gather(self.lengths, index), 1)
        owner = tf.repeat(tf.range(tf.size(points)), lengths)
        place = tf.range(tf.size(owner, out_type=tf.int64)) - tf.gather(
            tf.cumsum(lengths, exclusive=True), owner
        )
        start = tf.gather(tf.gather(self.starts, index), owner)
        last = tf.size(self.values, out_type=tf.int64) - 1
        replaced = tf.gather(self.values, tf.minimum(start + place, last))
        return tf.where(tf.gather(changed, owner), replaced, tf.gather(points, owner))

    def _compose(self, points: tf.Tensor) -> tf.Tensor:
        following = tf.concat([points[1:], [0]], 0)[: tf.size(points)]
        composed = self.composed.lookup(points * SHIFT + following)
        taken = composed >= 0
        swallowed = tf.concat([[False], taken[:-1]], 0)[: tf.size(points)]
        # A pair whose first part has just been swallowed waits for the next round.
        taken = tf.logical_and(taken, tf.logical_not(swallowed))
        swallowed = tf.concat([[False], taken[:-1]], 0)[: tf.size(points)]
        return tf.boolean_mask(tf.where(taken, composed, points), tf.logical_not(swallowed))
