"""LeNet-5: the counts of each layer, table I, sub-sampling, the pictures of the output layer."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.lenet import C3_LINKS, LeNet5, LinkedConv, RadialBasis, SubSampling, codes, squash


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def built(channels: int = 1, size: int = 32, **options) -> LeNet5:
    network = LeNet5(**{"num_classes": 10, **options})
    network(keras.KerasTensor((1, size, size, channels)))
    return network


def trainable(layer: keras.layers.Layer) -> int:
    return sum(int(np.prod(v.shape)) for v in layer.trainable_variables)


def test_counts_of_section_2b() -> None:
    network = built()
    names = ("c1", "s2", "c3", "s4", "c5", "f6", "head")
    counts = [trainable(getattr(network, name)) for name in names]
    assert counts == [156, 12, 1_516, 32, 48_120, 10_164, 0]
    assert (trainable(network), network.count_params()) == (60_000, 60_840)


def test_modern_counts() -> None:
    # C3 6*25*16 + 16 = 2,416; no sub-sampling weights; the end 84*10 + 10 = 850
    network = built(modern=True)
    assert (trainable(network), network.count_params()) == (61_706, 61_706)


def test_table_1() -> None:
    assert [len(links) for links in C3_LINKS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_LINKS)) == 16
    seen_by = np.bincount(np.concatenate(C3_LINKS))
    assert list(seen_by) == [10] * 6
    for width, rows in ((3, C3_LINKS[:6]), (4, C3_LINKS[6:12])):
        wanted = [{(start + i) % 6 for i in range(width)} for start in range(6)]
        assert [set(row) for row in rows] == wanted
    # rows 0 to 5 of the table's last four columns: X where the map is seen
    columns = ["XX.XX.", ".XX.XX", "X.XX.X", "XXXXXX"]
    assert ["".join(".X"[m in row] for m in range(6)) for row in C3_LINKS[12:]] == columns


def test_c3_is_a_convolution_with_holes() -> None:
    layer, x = LinkedConv(), random(2, 14, 14, 6)
    y = convert_to_numpy(layer(x))
    kernel, bias, out = np.zeros((5, 5, 6, 16), np.float32), np.zeros(16, np.float32), 0
    for conv in layer.convs:
        own = convert_to_numpy(conv.kernel)
        conv.bias.assign(random(own.shape[-1]))
        for i in range(own.shape[-1]):
            kernel[:, :, C3_LINKS[out], out] = own[..., i]
            bias[out] = convert_to_numpy(conv.bias)[i]
            out += 1
    assert np.count_nonzero(kernel) + len(bias) == 1_516
    y = convert_to_numpy(layer(x))
    wanted = convert_to_numpy(keras.ops.conv(x, kernel, padding="valid")) + bias
    np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_sub_sampling_adds_four_and_has_two_weights_a_map() -> None:
    layer, x = SubSampling(), random(2, 6, 4, 3)
    layer(x)
    layer.coefficient.assign([2, 0.5, -1])
    layer.bias.assign([0, 1, 2])
    sums = x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]
    wanted = sums * np.float32([2, 0.5, -1]) + np.float32([0, 1, 2])
    np.testing.assert_allclose(convert_to_numpy(layer(x)), wanted, atol=1e-5)


def test_squashing_keeps_one() -> None:
    x = np.array([-1, 0, 1, 100], np.float32)
    np.testing.assert_allclose(convert_to_numpy(squash(x)), [-1, 0, 1, 1.7159], atol=1e-4)


class TestOutput:
    def test_a_code_is_a_picture_of_7_by_12(self) -> None:
        one, seven = codes(10).reshape(10, 12, 7)[[1, 7]]
        assert np.all(one[1:11, 3] == 1)
        assert np.all(seven[0] == 1)
        assert np.all(seven[2:6, :4] == -1)
        assert set(np.unique(codes(10))) == {-1, 1}

    def test_pictures_of_digits_differ(self) -> None:
        apart = [(a != b).sum() for i, a in enumerate(codes(10)) for b in codes(10)[:i]]
        assert min(apart) >= 5

    def test_other_classes_have_codes_drawn_once(self) -> None:
        assert codes(26).shape == (26, 84)
        assert len(np.unique(codes(26), axis=0)) == 26
        np.testing.assert_array_equal(codes(26), codes(26))

    @pytest.mark.parametrize("num_classes", [3, 10])
    def test_logits_are_minus_the_squared_distance(self, num_classes: int) -> None:
        layer, x = RadialBasis(num_classes), random(2, 84)
        wanted = -((x[:, None] - codes(num_classes)[None]) ** 2).sum(-1)
        np.testing.assert_allclose(convert_to_numpy(layer(x)), wanted, rtol=1e-5)
        assert not layer.trainable_variables

    def test_a_digit_drawn_as_its_code_is_it(self) -> None:
        assert list(np.argmax(convert_to_numpy(RadialBasis(10)(codes(10))), axis=1)) == [*range(10)]


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_smaller_pictures_get_their_border_again(modern: bool, channels: int) -> None:
    network = built(channels, modern=modern)
    x = random(2, 28, 28, channels)
    wide = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="symmetric")
    small, large = (convert_to_numpy(network(images)) for images in (x, wide))
    assert small.shape == (2, 10)
    np.testing.assert_allclose(small, large, rtol=1e-4, atol=1e-4)


def test_without_the_top_it_gives_f6() -> None:
    network = built(include_top=False)
    assert network(keras.KerasTensor((1, 28, 28, 1))).shape == (1, 84)
    assert network.count_params() == 60_000


@pytest.mark.parametrize("options", [{}, {"modern": True}, {"num_classes": 4}])
def test_round_trip(options: dict, tmp_path) -> None:
    network, x = built(**options), random(2, 28, 28, 1)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert again.get_config() == network.get_config()
    np.testing.assert_allclose(convert_to_numpy(again(x)), convert_to_numpy(network(x)), rtol=1e-5)
