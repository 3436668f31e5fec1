"""The pattern: what a text means, where a wrong one is wrong, what sizes it likes."""

import warnings
from textwrap import dedent

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from models.image.pattern_cnn import (
    PATTERN,
    PatternCNN,
    PatternConv,
    PatternError,
    PatternPool,
    PatternWarning,
    parse,
    sizes,
)

LETTERS = {"INPUT": "I", "CONV": "c", "RELU": "r", "POOL": "P", "FC": "F"}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def written_out(pattern: str) -> str:
    return "".join(LETTERS[token.layer] + "?" * token.optional for token in parse(pattern))


@pytest.mark.parametrize(
    ("pattern", "layers"),
    [
        # CS231n's own examples
        ("INPUT -> FC", "IF"),
        ("INPUT -> CONV -> RELU -> FC", "IcrF"),
        ("INPUT -> [CONV -> RELU -> POOL]*2 -> FC -> RELU -> FC", "IcrPcrPFrF"),
        (
            "INPUT -> [CONV -> RELU -> CONV -> RELU -> POOL]*3 -> [FC -> RELU]*2 -> FC",
            "I" + 3 * "crcrP" + "FrFrF",
        ),
        (
            "INPUT -> [[CONV -> RELU]*3 -> POOL?]*2 -> [FC -> RELU]*1 -> FC",
            "I" + 2 * "crcrcrP?" + "FrF",
        ),
        ("INPUT -> [[CONV -> RELU]*2 -> POOL?]*0 -> [FC -> RELU]*0 -> FC", "IF"),
        ("INPUT -> [[CONV -> RELU]*0 -> POOL]*2 -> FC", "IPPF"),
        # six in a row, but in two stages
        ("INPUT -> [[CONV -> RELU]*3]*2 -> FC", "I" + 6 * "cr" + "F"),
        ("INPUT → [[CONV-RELU]*2 → POOL?]*1 → [FC-RELU]*1 → FC", "IcrcrP?FrF"),
        ("  input->[ conv-relu-pool ? ] × 2->fc ", "IcrP?crP?F"),
    ],
)
def test_a_pattern_written_out(pattern: str, layers: str) -> None:
    assert written_out(pattern) == layers


@pytest.mark.parametrize("n", range(4))
@pytest.mark.parametrize("m", [0, 1, 4])
@pytest.mark.parametrize("k", range(3))
@pytest.mark.parametrize("pool", ["", " -> POOL", " -> POOL?"])
def test_all_of_the_grammar(n: int, m: int, k: int, pool: str) -> None:
    pattern = f"INPUT -> [[CONV -> RELU]*{n}{pool}]*{m} -> [FC -> RELU]*{k} -> FC"
    mark = pool.removeprefix(" -> ").replace("POOL", "P")
    assert written_out(pattern) == "I" + m * (n * "cr" + mark) + k * "Fr" + "F"


@pytest.mark.parametrize(
    "message",
    [
        """
        RELU may stand after CONV, not POOL
          INPUT -> [CONV -> POOL]*2 -> FC
                            ^^^^
        """,
        """
        at most 3 CONV -> RELU in a stage: POOL or FC may stand here
          INPUT -> [[CONV -> RELU]*4 -> POOL]*2 -> FC
                     ^^^^
        """,
        """
        at most 3 CONV -> RELU in a stage: POOL or FC may stand here
          INPUT -> [CONV-RELU]*3 -> CONV -> RELU -> FC
                                    ^^^^
        """,
        """
        at most 2 FC -> RELU: the end may stand after this FC
          INPUT -> [FC -> RELU]*3 -> FC
                    ^^
        """,
        """
        INPUT may stand at the beginning, not CONV
          CONV -> RELU -> FC
          ^^^^
        """,
        """
        CONV or POOL or FC may stand after CONV -> RELU, not the end
          INPUT -> CONV -> RELU
                               ^
        """,
        """
        RELU or the end may stand after FC, not POOL
          INPUT -> FC -> POOL
                         ^^^^
        """,
        """
        FC may stand after FC -> RELU, not CONV
          INPUT -> [FC -> RELU -> CONV -> RELU]*2 -> FC
                                  ^^^^
        """,
        """
        INPUT, CONV, RELU, POOL, FC or [ may stand here, not DENSE
          INPUT -> dense -> FC
                   ^^^^^
        """,
        """
        -> or * or the end may stand here, not ?
          INPUT -> CONV? -> RELU -> FC
                       ^
        """,
        """
        -> or * or ] may stand here, not the end
          INPUT -> [CONV -> RELU -> FC
                                      ^
        """,
        """
        -> or * or the end may stand here, not ]
          INPUT -> CONV -> RELU] -> FC
                               ^
        """,
        """
        INPUT, CONV, RELU, POOL, FC may stand here, not [
          INPUT -> [[[CONV -> RELU]*2]*2]*2 -> FC
                     ^
        """,
        """
        a number up to 99 may stand after *
          INPUT -> [CONV -> RELU -> POOL]*N -> FC
                                         ^
        """,
        """
        a number up to 99 may stand after *
          INPUT -> [CONV -> RELU -> POOL]*100 -> FC
                                         ^^^^
        """,
    ],
)
def test_an_error_points_at_the_place(message: str) -> None:
    message = dedent(message).strip("\n")
    pattern = message.split("\n")[1][2:]
    with pytest.raises(PatternError) as error:
        PatternCNN(10, pattern)
    assert str(error.value) == message


def test_an_empty_text() -> None:
    with pytest.raises(PatternError, match="may stand here, not the end"):
        parse("")


def trained(pattern: str, shape: tuple[int, int, int], **options) -> int:
    network = PatternCNN(10, pattern, **options)
    network(keras.KerasTensor((1, *shape)))
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def test_counts() -> None:
    assert trained("INPUT -> FC", (32, 32, 3)) == 32 * 32 * 3 * 10 + 10
    kernels = [(3, 8), (8, 8), (8, 16), (16, 16)]
    convs = sum(9 * a * b + b for a, b in kernels)
    pattern = "INPUT -> [[CONV -> RELU]*2 -> POOL]*2 -> [FC -> RELU]*2 -> FC"
    fc = 4 * 4 * 16 * 20 + 20 + 20 * 20 + 20
    assert trained(pattern, (16, 16, 3), filters=8, units=20) == convs + fc + 210
    separable = 9 * 3 * 8 + 8 + sum(9 * a + a * b + b for a, b in kernels[1:])
    options = {"filters": 8, "units": 20, "separable": True, "pooling": "avg"}
    assert trained(pattern, (16, 16, 3), **options) == separable + 16 * 20 + 20 + 420 + 210


def test_a_linear_classifier_is_one() -> None:
    network, x = PatternCNN(3, "INPUT -> FC"), random(2, 4, 5, 3)
    y = convert_to_numpy(network(x))
    kernel, bias = network.get_weights()
    np.testing.assert_allclose(y, x.reshape(2, -1) @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize(
    ("pattern", "size", "options"),
    [
        (PATTERN, (32, 32), {}),
        (PATTERN, (30, 41), {}),
        ("INPUT -> [CONV -> RELU -> POOL?]*5 -> FC", (28, 20), {}),
        ("INPUT -> [CONV -> RELU]*2 -> POOL -> FC", (33, 32), {"stride": 2, "kernel_size": 5}),
        ("INPUT -> CONV -> RELU -> FC", (9, 7), {"stride": 3}),
    ],
)
def test_sizes_are_those_of_the_layers(pattern: str, size: tuple[int, int], options: dict) -> None:
    network = PatternCNN(10, pattern, filters=2, **options)
    x, seen = keras.KerasTensor((1, *size, 3)), []
    for layer in network.features:
        x = layer(x)
        seen.append(x.shape[1:3])
    assert [row[1:3] for row in sizes(pattern, *size, **options)] == seen


def warned(network: PatternCNN, *size: int) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        network(keras.KerasTensor((1, *size, 3)))
    assert all(issubclass(warning.category, PatternWarning) for warning in found)
    return [str(warning.message) for warning in found]


def test_a_warning_says_where() -> None:
    network = PatternCNN(10, "INPUT -> [CONV -> RELU -> POOL]*2 -> POOL -> FC", filters=2)
    assert warned(network, 36, 40) == [
        "POOL leaves out 1 row of its 9x10 input\n"
        "  INPUT -> [CONV -> RELU -> POOL]*2 -> POOL -> FC\n"
        "                                       ^^^^"
    ]
    network = PatternCNN(10, "INPUT -> CONV -> RELU -> FC", filters=2, stride=3)
    # 7 + 2 - 3 = 6 is divided by 3, 10 + 2 - 3 = 9 is too, 9 + 2 - 3 leaves 2
    assert warned(network, 7, 9) == [
        "CONV leaves out 2 columns of its 7x9 input and the zeros around it\n"
        "  INPUT -> CONV -> RELU -> FC\n"
        "           ^^^^"
    ]


@pytest.mark.parametrize(
    ("pattern", "size"),
    [(PATTERN, (32, 24)), ("INPUT -> [CONV -> RELU -> POOL?]*5 -> FC", (28, 28))],
)
def test_sizes_that_divide_are_passed_in_silence(pattern: str, size: tuple[int, int]) -> None:
    assert warned(PatternCNN(10, pattern, filters=2), *size) == []


def test_nothing_left_to_pool() -> None:
    network = PatternCNN(10, "INPUT -> [POOL]*2 -> POOL -> FC")
    with pytest.raises(PatternError) as error:
        network(random(1, 6, 4, 3)[:, :4])
    assert str(error.value).endswith("INPUT -> [POOL]*2 -> POOL -> FC\n" + " " * 23 + "^^^^")
    assert str(error.value).startswith("nothing to pool in 1x1")


def test_an_optional_pool_leaves_odd_sizes_alone() -> None:
    pool = PatternPool(optional=True)
    even, odd = random(1, 4, 6, 2), random(1, 4, 5, 2)
    np.testing.assert_array_equal(convert_to_numpy(pool(odd)), odd)
    wanted = even.reshape(1, 2, 2, 3, 2, 2).max((2, 4))
    np.testing.assert_array_equal(convert_to_numpy(pool(even)), wanted)


@pytest.mark.parametrize("separable", [False, True])
def test_a_stride_starts_in_the_corner(separable: bool) -> None:
    """With (F - 1) / 2 zeros before the first row: the 2nd of the positions at stride 1."""
    strided, every = (PatternConv(4, 3, stride, separable) for stride in (2, 1))
    x = random(1, 8, 6, 3)
    strided(x), every(x)
    every.set_weights(strided.get_weights())
    np.testing.assert_allclose(
        convert_to_numpy(strided(x)), convert_to_numpy(every(x))[:, ::2, ::2], atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 5)),
        ({"pooling": "avg"}, (1, 5)),
        ({"include_top": False, "pooling": "max"}, (1, 16)),
        ({"include_top": False}, (1, 2, 3, 16)),
    ],
)
def test_pooling_and_top(options: dict, shape: tuple) -> None:
    assert PatternCNN(5, filters=4, units=8, **options)(random(1, 16, 24, 3)).shape[:2] == shape[:2]


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        PatternCNN(5, kernel_size=4)


def test_round_trip(tmp_path) -> None:
    pattern = "INPUT -> [[CONV -> RELU]*1 -> POOL?]*2 -> [FC -> RELU]*1 -> FC"
    network, x = PatternCNN(5, pattern, filters=4, units=8, separable=True), random(2, 16, 12, 3)
    y = convert_to_numpy(network(x))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert again.get_config() == network.get_config()
    np.testing.assert_allclose(convert_to_numpy(again(x)), y, atol=1e-6)
