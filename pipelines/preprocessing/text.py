"""A sentence -> token numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from pipelines.preprocessing.unicode import NormaliseUnicode
from protos.triptych.v1 import manifest_pb2

PADDING_ID, UNKNOWN_ID = 0, 1
FIRST_ID = 2  # of the vocabulary's first token
SHORTEST = 8  # tokens that the shortest text is padded to
UNITS = ("word", "character")


class TextPreprocessing(tf.Module):
    """Normalise, split, number, pad.  string scalar -> int32 [T]

    Words are what spaces and punctuation leave between them, and each punctuation mark is a
    token too; characters are code points, for languages that write no spaces. A text is
    padded with 0 to the next power of two, so that a server sees few shapes.

    Args:    vocabulary: tokens, numbered from 2; unit: "word" or "character";
             max_tokens: tokens past it are cut off.
    """

    domain = "text"

    def __init__(self, vocabulary: Sequence[str] = (), unit: str = "word", max_tokens: int = 512):
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
        super().__init__()
        # A tuple would be tracked, variable by variable, by tf.Module.
        self._vocabulary = "\n".join(vocabulary)
        self.vocabulary_size = FIRST_ID + len(vocabulary)
        self.unit = unit
        self.max_tokens = max_tokens
        self.normalise = NormaliseUnicode()
        lengths = [2**n for n in range(SHORTEST.bit_length() - 1, max_tokens.bit_length())]
        self.lengths = tf.constant(sorted({*lengths, max_tokens}))
        self.decoded_spec = tf.TensorSpec([], tf.string, name="text")
        self.example_spec = tf.TensorSpec([None], tf.int32, name="example")
        keys = tf.constant(list(vocabulary) or [""], tf.string)
        values = tf.range(FIRST_ID, FIRST_ID + tf.size(keys))
        self.ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, values), default_value=UNKNOWN_ID
        )

    def tokens(self, text: tf.Tensor) -> tf.Tensor:
        """string scalar -> string [tokens]."""
        text = self.normalise(text)
        if self.unit == "character":
            text = tf.strings.regex_replace(text, r"[\s\p{Z}]+", "")
            return tf.strings.unicode_split(text, "UTF-8")
        text = tf.strings.regex_replace(text, r"([\p{P}\p{S}])", r" \1 ")
        text = tf.strings.regex_replace(text, r"[\s\p{Z}]+", " ")
        return tf.strings.split(tf.strings.strip(text), " ")

    def preprocess(self, text: tf.Tensor) -> tf.Tensor:
        ids = self.ids.lookup(self.tokens(text)[: self.max_tokens])
        length = tf.gather(
            self.lengths, tf.reduce_sum(tf.cast(self.lengths < tf.size(ids), tf.int32))
        )
        return tf.pad(ids, [[0, length - tf.size(ids)]], constant_values=PADDING_ID)

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """UTF-8 bytes are the text."""
        return encoded

    def fit(self, texts: Iterable[str]) -> "TextPreprocessing":
        """Take the vocabulary from these texts: most frequent first, ties by code point."""
        counts = Counter(t for text in texts for t in self.tokens(tf.constant(text)).numpy())
        ordered = sorted(counts, key=lambda token: (-counts[token], token))
        vocabulary = [token.decode() for token in ordered if token]
        return TextPreprocessing(**{**self.get_config(), "vocabulary": vocabulary})

    def spec(self) -> manifest_pb2.InputSpec:
        sizes = manifest_pb2.TextInput(
            vocabulary_size=self.vocabulary_size, max_tokens=self.max_tokens
        )
        return manifest_pb2.InputSpec(text=sizes)

    def get_config(self) -> dict[str, Any]:
        return {
            "vocabulary": self._vocabulary.split("\n") if self._vocabulary else [],
            "unit": self.unit,
            "max_tokens": self.max_tokens,
        }
