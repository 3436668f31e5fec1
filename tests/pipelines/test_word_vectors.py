"""Word vectors from files written as the formats say, and what is said of files that aren't."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets import DatasetError
from pipelines.preprocessing.text import FIRST_ID, UNKNOWN_ID
from pipelines.word_vectors import coverage, load

VOCABULARY = ["cat", "paris", "dog", "été", "nowhere"]
VECTORS = {
    "the": [0.5, 1.5, -2.0],
    "Paris": [1.0, 2.0, 3.0],
    "cat": [-1.0, 0.25, 0.0],
    "PARIS": [9.0, 9.0, 9.0],  # another spelling, later in the file
    "Dog": [8.0, 8.0, 8.0],
    "été": [0.125, -3.0, 1e-3],
    "dog": [4.0, 5.0, 6.0],
}
Vectors = dict[str, list[float]]


def word2vec(path: Path, vectors: Vectors, newline: bytes = b"") -> None:
    """As gensim's _save_word2vec_format; the C program ends each vector with a newline."""
    content = b"%d %d\n" % (len(vectors), 3)
    for word, row in vectors.items():
        content += word.encode() + b" " + struct.pack("<3f", *row) + newline
    path.write_bytes(content)


def glove(path: Path, vectors: Vectors) -> None:
    lines = [f"{word} {' '.join(map(repr, row))}\n" for word, row in vectors.items()]
    path.write_text("".join(lines))


def fasttext(path: Path, vectors: Vectors) -> None:
    """A line of sizes, and a space behind each number."""
    lines = [f"{word} {' '.join(map(repr, row))} \n" for word, row in vectors.items()]
    path.write_text(f"{len(vectors)} 3\n{''.join(lines)}")


WRITERS: dict[str, Callable[..., None]] = {
    "vectors.bin": word2vec,
    "newlines.bin": lambda path, vectors: word2vec(path, vectors, b"\n"),
    "glove.6B.3d.txt": glove,
    "wiki.vec": fasttext,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
def test_each_format_gives_the_vocabularys_rows(name, compressed, tmp_path) -> None:
    path = tmp_path / name
    WRITERS[name](path, VECTORS)
    if compressed:
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    vectors = load(path, VOCABULARY, seed=0)
    assert vectors.matrix.dtype == np.float32
    assert vectors.found.tolist() == [False, False, True, True, True, True, False]
    # "dog" as it is written, not the earlier "Dog"; "paris" by the file's first other spelling.
    wanted = [VECTORS[word] for word in ("cat", "Paris", "dog", "été")]
    np.testing.assert_array_equal(
        vectors.matrix[FIRST_ID : FIRST_ID + 4], np.array(wanted, np.float32)
    )
    assert not vectors.matrix[0].any()


def test_missing_words_have_the_variance_of_those_found_and_a_seed(tmp_path) -> None:
    """Kim 2014, section 4.2: uniform in [-a, a], with a^2 / 3 that variance."""
    rng = np.random.default_rng(0)
    known = {f"w{i}": rng.normal(0, 0.7, 3).tolist() for i in range(2000)}
    path = tmp_path / "glove.txt"
    glove(path, known)
    vocabulary = [*known, *(f"unseen{i}" for i in range(2000))]
    vectors = load(path, vocabulary, seed=3)
    variance = vectors.matrix[vectors.found].var()
    drawn = vectors.matrix[~vectors.found][1:]  # without padding
    assert len(drawn) == 2001  # with the unknown word
    assert vectors.matrix[UNKNOWN_ID].any()
    assert drawn.var() == pytest.approx(variance, rel=0.05)
    assert np.abs(drawn).max() <= np.sqrt(3 * variance) * (1 + 1e-6)
    np.testing.assert_array_equal(load(path, vocabulary, seed=3).matrix, vectors.matrix)
    assert (load(path, vocabulary, seed=4).matrix != vectors.matrix).any()


def test_coverage_counts_words_and_how_often_they_come(tmp_path) -> None:
    glove(tmp_path / "glove.txt", VECTORS)
    vocabulary = [*VOCABULARY, "rare", "often"]
    vectors = load(tmp_path / "glove.txt", vocabulary, seed=0)
    counts = np.array([50, 50, 10, 5, 3, 2, 4, 1, 15])  # padding and the unknown word first
    covered = coverage(vectors, vocabulary, counts)
    assert covered == (7, 4, 40, 20, ["often", "nowhere", "rare"])
    assert str(covered) == (
        "4 of 7 words (57.1%), 50.0% of all tokens; without: often nowhere rare"
    )


def test_a_word_may_have_spaces_and_lines_any_ending(tmp_path) -> None:
    """GloVe's 840B has such words; the last D fields are the numbers."""
    path = tmp_path / "glove.txt"
    path.write_bytes(b"the 1 2 3\r\n. . . 4 5 6\r\ncat 7 8 9")
    assert load(path, ["cat"], seed=0).matrix[FIRST_ID].tolist() == [7, 8, 9]


def binary(count: int, *parts: bytes) -> bytes:
    return b"%d 3\n" % count + b"".join(parts)


ROW = struct.pack("<3f", 1, 2, 3)
# fmt: off
BAD = {
    "not there": ("gone.bin", None, "cannot be read: No such file"),
    "no known suffix": ("vectors.model", b"", r"\.bin \(word2vec\), \.txt \(GloVe\)"),
    "a fastText model": ("cc.bin", b"\xba\x16\x4f\x2f" + bytes(20), r"take the \.vec file"),
    "no header": ("a.bin", b"cat " + ROW, "byte 0: expected how many"),
    "empty": ("a.bin", b"", "byte 0"),
    "cut off in a vector": ("a.bin", binary(2, b"the " + ROW, b"cat " + ROW[:5]), "1 of 2 vectors"),
    "cut off in a word": ("a.bin", binary(2, b"the " + ROW, b"ca"), "ends after 1 of 2"),
    "no word's end": ("a.bin", binary(2, b"the " + ROW, b"x" * 9000), "byte 20: no word ends"),
    "not finite": ("a.bin", binary(1, b"cat " + struct.pack("<3f", 1, np.nan, 3)), "byte 4: the v"),
    "a short line": ("a.txt", b"the 1 2 3\ncat 1 2\n", "line 2: expected a word and 3 numbers"),
    "no number": ("a.txt", b"the 1 2 3\ncat 1 x 3\n", "line 2: what follows 'cat' is no number"),
    "infinite": ("a.txt", b"the 1 2 3\ncat 1 inf 3\n", "line 2: the vector of 'cat' isn't finite"),
    "no numbers at all": ("a.txt", b"a\nb\n", "line 1: expected a word and its numbers"),
    "fewer lines": ("a.vec", b"3 2\nthe 1 2\ncat 3 4\n", "ends after 2 of 3 vectors"),
    "a broken archive": ("a.txt.gz", gzip.compress(b"the 1 2 3\n" * 99)[:30], "cannot be unpacked"),
    "no archive": ("a.txt.gz", b"the 1 2 3\n", "cannot be unpacked"),
    "another language": ("a.txt", b"le 1 2 3\n", "no word of the training data"),
}
# fmt: on


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_says_where_it_is_bad(case, tmp_path) -> None:
    name, content, reason = BAD[case]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=reason) as caught:
        load(path, ["cat"], seed=0)
    assert str(path) in str(caught.value)


def test_a_large_file_takes_no_more_memory_than_its_vocabulary(tmp_path) -> None:
    """10 MB of vectors, of which two words are wanted."""
    import tracemalloc

    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.write(b"5000 500\n")
        row = np.ones(500, "<f4").tobytes()
        for i in range(5000):
            file.write(b"w%d " % i + row)
    tracemalloc.start()
    try:
        vectors = load(path, ["w7", "w4999"], seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert vectors.found[FIRST_ID:].all()
    assert peak < 500_000
