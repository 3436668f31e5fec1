"""A tiny form of each kind of text network, for whatever holds for all of them."""

from typing import Any

VOCABULARY = 30  # token numbers of words are below it
WORDS = {"vocabulary_size": VOCABULARY, "embedding_dim": 8, "filters": 6}
# fmt: off
TINY: dict[str, dict[str, Any]] = {
    "kim_cnn_multichannel": {**WORDS, "widths": (2, 5)},
    "char_cnn_small": {"filters": 4, "units": 6, "length": 150, "initial_deviation": 0.5},
    "vdcnn_9": {"blocks": (1, 1), "filters": 4, "units": 6, "k": 3, "shortcut": True},
    "gated_cnn": {**WORDS, "blocks": 2},
    "tcn": {**WORDS, "blocks": 2},
    "separable_text_cnn": WORDS,
}
# fmt: on
