"""What the networks over characters read, and where."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.graph import shapes_only
from models.text import char_cnn, vdcnn


def test_the_alphabets_are_the_papers() -> None:
    assert len(char_cnn.ALPHABET) == 70  # 26 letters, 10 digits, 33 others, a newline
    assert 2 + len(vdcnn.ALPHABET) == 69  # with padding, unknown and the space
    assert len(set(vdcnn.ALPHABET)) == len(vdcnn.ALPHABET)


def test_a_character_is_one_hot_and_an_unlisted_one_is_nothing() -> None:
    """As an embedding of the identity: the first layer's maps are rows of its filters."""
    network = models.create_model("char_cnn_small", 4, filters=3, units=4, length=150)
    tokens = np.zeros((1, 150), np.int32)
    tokens[0, :3] = [2, 71, 1]  # the alphabet's first and last, and an unknown one
    network(tokens)
    conv = network.convs[0]
    hot = np.zeros((1, 150, 70), np.float32)
    hot[0, 0, 0] = hot[0, 1, 69] = 1
    seen = []
    conv.call, original = lambda x: seen.append(x) or original(x), conv.call
    network(tokens)
    np.testing.assert_array_equal(seen[0], hot)


@pytest.mark.parametrize(("length", "frames"), [(1014, 34), (123, 1), (150, 2)])
def test_frames_are_a_27th_of_the_length_without_96(length, frames) -> None:
    with shapes_only():
        network = models.create_model("char_cnn_small", 4, filters=3, units=5, length=length)
        network.call(keras.KerasTensor((1, None), "int32"))
        assert network.hidden[0].kernel.shape == (frames * 3, 5)


def test_a_length_without_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 123"):
        models.create_model("char_cnn_small", 4, length=122)


def test_weights_start_with_the_papers_deviation() -> None:
    network = models.create_model("char_cnn_small", 4, units=64, length=150)
    network(np.zeros((1, 150), np.int32))
    deviations = [convert_to_numpy(conv.kernel).std() for conv in network.convs]
    np.testing.assert_allclose(deviations, 0.05, rtol=0.02)


def test_padding_has_no_part_in_batch_norms_statistics() -> None:
    """A training step on a text, padded or not, leaves the same moving means."""
    text = np.random.default_rng(0).integers(2, 60, (2, 9)).astype(np.int32)
    means = []
    for padding in (0, 23):
        keras.utils.set_random_seed(0)
        network = models.create_model("vdcnn_9", 3, blocks=(1, 1), filters=4, units=6, k=2)
        network(np.pad(text, ((0, 0), (0, padding))), training=True)
        means.append([convert_to_numpy(v) for v in network.non_trainable_variables])
    for one, other in zip(*means, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
