"""What the keyword spotters of 2015 are: frequency alone, multiplies as printed, any clip."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.audio.keyword_cnn import FRAMES, KeywordCNN
from models.catalogue import priced
from models.graph import shapes_only, unroll

TRAD = {"rows": ((20, 8, 4, 3, 1), (10, 4, 4, 1, 1)), "units": (8,)}


# Beside each, what Sainath & Parada 2015 print.
@pytest.mark.parametrize(
    ("name", "multiplies"),
    [
        ("cnn_trad_fpool3", 9_705_984),  # 9.7M
        ("cnn_one_fpool3", 496_192),  # 496.2K
        ("cnn_one_fstride4", 503_104),  # 503.1K
        ("cnn_one_fstride8", 504_832),  # 504.8K
    ],
)
def test_multiplies_are_those_of_the_paper(name: str, multiplies: int) -> None:
    assert priced(name, num_classes=4).multiply_adds == multiplies


@pytest.mark.parametrize("name", ["cnn_one_fpool3", "cnn_one_fstride4", "cnn_one_fstride8"])
def test_row_164_the_filters_span_all_frames_and_move_along_frequency_alone(name: str) -> None:
    with shapes_only():
        network = models.create_model(name, 4)
        network.call(keras.KerasTensor((1, FRAMES, 40)))
        maps = network.convs[0].compute_output_shape((1, FRAMES, 40, 1))
        assert maps[1] == 1
        assert maps[2] > 1
        assert network.convs[0].kernels[0].shape[0] == FRAMES


@pytest.mark.parametrize("options", [{"rows": ((32, 8, 4, 3, 1),), "units": (8, 8)}, TRAD])
def test_a_longer_clip_is_the_mean_of_its_windows(options: dict) -> None:
    network = KeywordCNN(3, window_stride=5, **options)
    x = np.random.default_rng(0).standard_normal((2, 47, 40)).astype(np.float32)
    windows = [convert_to_numpy(network(x[:, first : first + FRAMES])) for first in (0, 5, 10, 15)]
    np.testing.assert_allclose(network(x), np.mean(windows, axis=0), atol=1e-5)


def test_a_shorter_clip_is_padded() -> None:
    network = KeywordCNN(3, **TRAD)
    x = np.random.default_rng(0).standard_normal((2, 9, 40)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, FRAMES - 9), (0, 0)))
    np.testing.assert_allclose(network(x), network(padded), atol=1e-6)


def test_too_few_mel_bands_are_named() -> None:
    with pytest.raises(ValueError, match="covers 4 mel bands, but its input has only 3"):
        KeywordCNN(3, **TRAD).call(keras.KerasTensor((1, FRAMES, 18)))


def test_what_is_after_the_low_rank_is_linear_until_the_next_layer() -> None:
    """ "lin" has no ReLU: of the two products, one matrix could be made."""
    names = [type(op).__name__ for op in unroll(KeywordCNN(3, **TRAD), (FRAMES, 40)).operations]
    assert names[names.index("MaxPooling2D") :].count("Relu") == 2  # conv 2 and dnn
