"""What a text scores is its own affair: neither padding nor its neighbours change it."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras.ops import convert_to_numpy

import models
from models.layers.embedding import TokenEmbedding
from tests.models.text.tiny_networks import TINY, VOCABULARY

LONGEST = 24
TEXT = st.lists(st.integers(1, VOCABULARY - 1), max_size=LONGEST)


@functools.cache
def network(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    made = models.create_model(name, 3, **TINY[name])
    made(np.ones((1, LONGEST), np.int32))
    rng = np.random.default_rng(0)
    for weight in made.weights:  # biases and statistics too, which start where padding is zero
        if weight.name not in ("embeddings", "length"):
            weight.assign(weight + rng.uniform(0.1, 0.3, weight.shape))
    return made


def scores(name: str, rows: list[list[int]], padding: int) -> np.ndarray:
    """[B, K] of a batch, padded to its longest text and `padding` places more."""
    batch = np.zeros((len(rows), max(1, *map(len, rows)) + padding), np.int32)
    for row, text in zip(batch, rows, strict=True):
        row[: len(text)] = text
    return convert_to_numpy(network(name)(batch))


@pytest.mark.parametrize("name", TINY)
@settings(max_examples=12, deadline=None)
@given(text=TEXT, other=TEXT, padding=st.integers(0, 13))
@example(text=[5], other=[7] * LONGEST, padding=3)  # shorter than any filter
@example(text=[], other=[], padding=5)
def test_a_sentence_alone_and_among_longer_ones(name, text, other, padding) -> None:
    alone = scores(name, [text, []], 0)[0]
    among = scores(name, [text, other], padding)[0]
    np.testing.assert_allclose(among, alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_words_do_change_it(name) -> None:
    assert np.ptp(scores(name, [[5, 6, 7, 8], [9, 6, 7, 8]], 4), axis=0).max() > 1e-4


@pytest.mark.parametrize("name", [n for n in TINY if n != "char_cnn_small"])
def test_the_row_of_padding_stays_zero_in_training(name) -> None:
    made = models.create_model(name, 3, **TINY[name])
    made.compile(
        keras.optimizers.AdamW(0.1, weight_decay=0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    batch = np.array([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]], np.int32)
    made.train_on_batch(batch, np.array([0, 2]))
    tables = [x.embeddings for x in made._flatten_layers() if isinstance(x, TokenEmbedding)]
    assert tables
    for table in map(convert_to_numpy, tables):
        assert not table[0].any()
        assert table[1:].any(axis=1).all()


def test_every_kind_of_text_network_is_here() -> None:
    kinds = {models.ARCHITECTURES[name].network for name in models.list_models("text")}
    assert kinds == {models.ARCHITECTURES[name].network for name in TINY}
