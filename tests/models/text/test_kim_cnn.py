"""Kim's forms: which vectors are trained, how channels add up, the classifier's norm."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.layers.embedding import TokenEmbedding

TINY = {"vocabulary_size": 20, "embedding_dim": 6, "widths": (2, 3), "filters": 5}
TOKENS = np.array([[5, 6, 7, 8, 0], [9, 10, 0, 0, 0]], np.int32)


def tables(network: keras.Model) -> list[TokenEmbedding]:
    return [layer for layer in network._flatten_layers() if isinstance(layer, TokenEmbedding)]


@pytest.mark.parametrize(
    ("form", "trained"),
    [
        ("rand", [True]),
        ("static", [False]),
        ("nonstatic", [True]),
        ("multichannel", [False, True]),
    ],
)
def test_a_form_trains_the_vectors_that_it_says(form, trained) -> None:
    network = models.create_model("kim_cnn", 3, **TINY, form=form)
    network(TOKENS)
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    rows[0] = 0
    for table in tables(network):
        table.embeddings.assign(rows)
    network.compile(
        keras.optimizers.SGD(1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.train_on_batch(TOKENS, np.array([0, 2]))
    changed = [not np.array_equal(convert_to_numpy(t.embeddings), rows) for t in tables(network)]
    assert changed == trained


def test_channels_share_the_filters_and_their_maps_add_up() -> None:
    """c = f(w x_static + w x_trained + b) (Kim 2014, section 2), by two convolutions."""
    network = models.create_model("kim_cnn", 3, **TINY, form="multichannel")
    network(TOKENS)
    first, second = (table(TOKENS) for table in tables(network))
    pooled = []
    for conv, width in zip(network.convs, (2, 3), strict=True):
        kernel = convert_to_numpy(conv.kernel)
        sides = [np.pad(convert_to_numpy(x), ((0, 0), (0, width), (0, 0))) for x in (first, second)]
        maps = [
            sum(np.einsum("bwd,wdf->bf", x[:, t : t + width], kernel) for x in sides)
            for t in range(4)
        ]
        maps = np.maximum(np.stack(maps, 1) + convert_to_numpy(conv.bias), 0)
        maps[1, 2:] = 0  # of the second text no window starts behind its end
        pooled.append(maps.max(axis=1))
    wanted = network.head(np.concatenate(pooled, -1))
    np.testing.assert_allclose(network(TOKENS), wanted, atol=1e-5)


def test_no_column_of_the_classifier_is_longer_than_3() -> None:
    network = models.create_model("kim_cnn_rand", 3, **TINY)
    network(TOKENS)
    network.head.kernel.assign(np.full(network.head.kernel.shape, 2.0))
    network.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.train_on_batch(TOKENS, np.array([0, 2]))
    lengths = np.linalg.norm(convert_to_numpy(network.head.kernel), axis=0)
    np.testing.assert_allclose(lengths, 3.0, rtol=1e-5)


def test_vectors_start_as_in_the_papers_code() -> None:
    network = models.create_model("kim_cnn", 3, **{**TINY, "vocabulary_size": 2000})
    network(TOKENS)
    rows = convert_to_numpy(tables(network)[0].embeddings)
    assert not rows[0].any()
    assert np.abs(rows).max() <= 0.25
    assert rows[1:].std() == pytest.approx(0.25 / np.sqrt(3), rel=0.02)


def test_row_165_filters_move_along_time_and_take_all_of_a_word() -> None:
    """The dimensions of a word have no order: permuted with the filters', nothing changes."""
    network = models.create_model("kim_cnn", 3, **TINY)
    before = convert_to_numpy(network(TOKENS))
    order = np.random.default_rng(0).permutation(6)
    (table,) = tables(network)
    table.embeddings.assign(convert_to_numpy(table.embeddings)[:, order])
    assert np.abs(convert_to_numpy(network(TOKENS)) - before).max() > 1e-3
    for conv in network.convs:
        assert conv.kernel.shape == (conv.kernel_size[0], 6, 5)
        conv.kernel.assign(convert_to_numpy(conv.kernel)[:, order])
    np.testing.assert_allclose(network(TOKENS), before, atol=1e-6)


def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="rand, static, nonstatic, multichannel"):
        models.create_model("kim_cnn", 3, **TINY, form="dynamic")
