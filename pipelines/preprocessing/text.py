"""A sentence -> token numbers."""

import json
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
    token too; characters are code points, for languages that write no spaces, and for networks
    that read letters. A text is padded with 0 to the next power of two, so that a server sees
    few shapes.

    Args:    vocabulary: tokens, numbered from 2, of a repeated one the later number counts;
             unit: "word" or "character"; max_tokens: tokens past it are cut off;
             keep_spaces: white space between characters is a character too;
             backwards: the last token comes first, and what is cut off is the text's start
             (Zhang 2015, section 2.2, arXiv 1509.01626); shortest: tokens that the shortest
             text is padded to.
    """

    domain = "text"

    def __init__(
        self,
        vocabulary: Sequence[str] = (),
        unit: str = "word",
        max_tokens: int = 512,
        keep_spaces: bool = False,
        backwards: bool = False,
        shortest: int = SHORTEST,
    ):
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
        super().__init__()
        # A tuple would be tracked, variable by variable, by tf.Module.
        self._vocabulary = json.dumps(list(vocabulary))
        self.vocabulary_size = FIRST_ID + len(vocabulary)
        self.unit = unit
        self.max_tokens = max_tokens
        self.keep_spaces = keep_spaces
        self.backwards = backwards
        self.shortest = min(shortest, max_tokens)
        self.normalise = NormaliseUnicode()
        powers = (2**n for n in range(max_tokens.bit_length()))
        between = [n for n in powers if self.shortest < n < max_tokens]
        self.lengths = tf.constant([*sorted({self.shortest, *between, max_tokens})])
        size = max_tokens if self.shortest == max_tokens else None
        self.decoded_spec = tf.TensorSpec([], tf.string, name="text")
        self.example_spec = tf.TensorSpec([size], tf.int32, name="example")
        ids = {token: FIRST_ID + n for n, token in enumerate(vocabulary)} or {"": FIRST_ID}
        keys, values = tf.constant(list(ids), tf.string), tf.constant(list(ids.values()))
        self.ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, values), default_value=UNKNOWN_ID
        )

    def tokens(self, text: tf.Tensor) -> tf.Tensor:
        """string scalar -> string [tokens]."""
        text = self.normalise(text)
        if self.unit == "character":
            if not self.keep_spaces:
                text = tf.strings.regex_replace(text, r"[\s\p{Z}]+", "")
            return tf.strings.unicode_split(text, "UTF-8")
        text = tf.strings.regex_replace(text, r"([\p{P}\p{S}])", r" \1 ")
        text = tf.strings.regex_replace(text, r"[\s\p{Z}]+", " ")
        return tf.strings.split(tf.strings.strip(text), " ")

    def kept(self, text: tf.Tensor) -> tf.Tensor:
        """string scalar -> string [tokens]: those that are numbered, in the example's order."""
        tokens = self.tokens(text)
        tokens = tokens[::-1] if self.backwards else tokens
        return tokens[: self.max_tokens]

    def preprocess(self, text: tf.Tensor) -> tf.Tensor:
        ids = self.ids.lookup(self.kept(text))
        length = tf.gather(
            self.lengths, tf.reduce_sum(tf.cast(self.lengths < tf.size(ids), tf.int32))
        )
        ids = tf.pad(ids, [[0, length - tf.size(ids)]], constant_values=PADDING_ID)
        return tf.ensure_shape(ids, self.example_spec.shape)

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """UTF-8 bytes are the text."""
        return encoded

    def fit(self, texts: Iterable[str]) -> "TextPreprocessing":
        """Take the vocabulary from these texts, most frequent first, ties by code point.

        One that is there already, as a network's alphabet, stays.
        """
        if self.get_config()["vocabulary"]:
            return self
        tokens = tf.function(
            self.tokens, [self.decoded_spec]
        )  # op by op takes twenty times as long
        counts = Counter(token for text in texts for token in tokens(tf.constant(text)).numpy())
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
            "vocabulary": json.loads(self._vocabulary),
            "unit": self.unit,
            "max_tokens": self.max_tokens,
            "keep_spaces": self.keep_spaces,
            "backwards": self.backwards,
            "shortest": self.shortest,
        }
