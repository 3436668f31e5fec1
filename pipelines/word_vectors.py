"""Vectors for the words of a vocabulary, out of a file with those of millions.

    .bin    word2vec: "N D\n", then N times the word, a space, D little-endian float32
    .txt    GloVe: a line a word, its D numbers behind it, all with single spaces between
    .vec    fastText, and word2vec as text: the same below a line "N D"

Each may be compressed (.gz). A file is read once, and only the vocabulary's rows are kept.

Source:  the formats as gensim's KeyedVectors.load_word2vec_format reads them.
"""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.datasets import DatasetError
from pipelines.preprocessing.text import FIRST_ID, PADDING_ID
from pipelines.preprocessing.unicode import normalise

FASTTEXT_MAGIC = b"\xba\x16\x4f\x2f"  # 793712314: a whole fastText model, which isn't read here
LONGEST_WORD, LONGEST_LINE = 4096, 2**20  # bytes; past them it is no such file
LARGEST_DIMENSION = 10_000
MISSING = 20  # of the commonest words without a vector, how many are told
EXACT, FOLDED = 2, 1  # how a word was found


@dataclass(frozen=True)
class WordVectors:
    matrix: np.ndarray  # float32 [V, D]: row 0 is zero, rows that were not found are random
    found: np.ndarray  # bool [V]


class Coverage(NamedTuple):
    """How much of a text the file has vectors for."""

    words: int  # different ones
    words_found: int
    tokens: int  # all of them, as often as they come
    tokens_found: int
    missing: list[str]  # the commonest first

    def __str__(self) -> str:
        words, tokens = self.words_found / self.words, self.tokens_found / max(1, self.tokens)
        said = (
            f"{self.words_found:,} of {self.words:,} words ({words:.1%}),"
            f" {tokens:.1%} of all tokens"
        )
        return said + (f"; without: {' '.join(self.missing)}" if self.missing else "")


def load(path: Path, vocabulary: Sequence[str], seed: int) -> WordVectors:
    """The rows of a network's embedding, as preprocessing numbers its tokens.

    A word that the file has under another spelling alone (Paris for paris) takes the vector of
    the first, which in these files is the most frequent. Words that it doesn't have, and the
    unknown one, start uniform in [-a, a], with the variance of the vectors that were found.

    Raises:  DatasetError for a file that is none of these formats, is cut off or damaged, or has
             no word of the vocabulary; it names the line, or the byte.
    Source:  Kim 2014, section 4.2, for the words that are missing.
    """
    ids = {word: FIRST_ID + n for n, word in enumerate(vocabulary)}
    state = np.zeros(FIRST_ID + len(vocabulary), np.int8)
    try:
        with _opened(path) as file:
            dimension, entries = _format(path)(file, path)
            matrix = np.zeros((len(state), dimension), np.float32)
            for entry in entries:
                row, how = ids.get(entry.word), EXACT
                if row is None:
                    row, how = ids.get(normalise(entry.word)), FOLDED
                if row is not None and state[row] < how:
                    matrix[row], state[row] = _numbers(entry, path), how
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path} cannot be unpacked ({error}): get it again") from error
    found = state > 0
    if not found.any():
        raise DatasetError(
            f"{path} has no word of the training data: take vectors of the same language, or"
            " train without them"
        )
    limit = np.sqrt(3 * matrix[found].var())
    missing = ~found
    rng = np.random.default_rng(seed)
    matrix[missing] = rng.uniform(-limit, limit, (missing.sum(), dimension))
    matrix[PADDING_ID] = 0
    return WordVectors(matrix, found)


def coverage(vectors: WordVectors, vocabulary: Sequence[str], counts: np.ndarray) -> Coverage:
    """Args: counts: int [V], how often each token number comes in the training texts."""
    counts, found = counts[FIRST_ID:], vectors.found[FIRST_ID:]
    commonest = np.argsort(-np.where(found, 0, counts), kind="stable")[:MISSING]
    return Coverage(
        words=len(vocabulary),
        words_found=int(found.sum()),
        tokens=int(counts.sum()),
        tokens_found=int(counts[found].sum()),
        missing=[vocabulary[i] for i in commonest if not found[i]],
    )


class Entry(NamedTuple):
    word: str
    numbers: bytes
    place: str  # "line" or "byte"
    at: int


Reader = Callable[[io.BufferedReader, Path], tuple[int, Iterator[Entry]]]


def _format(path: Path) -> Reader:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"] or [""]
    known = {".bin": _binary, ".txt": _text, ".vec": _text}
    if suffixes[-1] not in known:
        raise DatasetError(
            f"{path}: word vectors are read from .bin (word2vec), .txt (GloVe) and .vec (fastText)"
            " files, and these with .gz behind: name it by its format"
        )
    return known[suffixes[-1]]


def _opened(path: Path) -> io.BufferedReader:
    try:
        if path.suffix != ".gz":
            return path.open("rb")
        # Words are read byte by byte, which gzip's own object takes ten times as long for.
        return io.BufferedReader(gzip.open(path))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _numbers(entry: Entry, path: Path) -> np.ndarray:
    try:
        if entry.place == "byte":
            row = np.frombuffer(entry.numbers, "<f4")
        else:
            row = np.array(entry.numbers.split(b" "), np.float32)
    except ValueError as error:
        raise _damaged(path, entry, f"what follows {entry.word!r} is no number") from error
    if not np.isfinite(row).all():
        raise _damaged(path, entry, f"the vector of {entry.word!r} isn't finite")
    return row


def _damaged(path: Path, entry: Entry, reason: str) -> DatasetError:
    return DatasetError(f"{path}, {entry.place} {entry.at:,}: {reason}: get it again")


def _header(line: bytes) -> tuple[int, int] | None:
    """(N, D), if that is what the line says."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    count, dimension = map(int, fields)
    return (count, dimension) if 0 < dimension <= LARGEST_DIMENSION else None


def _cut_off(path: Path, have: int, count: int) -> DatasetError:
    return DatasetError(f"{path} ends after {have:,} of {count:,} vectors: get it again")


def _binary(file: io.BufferedReader, path: Path) -> tuple[int, Iterator[Entry]]:
    line = file.readline(LONGEST_WORD)
    if line.startswith(FASTTEXT_MAGIC):
        raise DatasetError(f"{path} is a whole fastText model: take the .vec file beside it")
    header = _header(line)
    if header is None:
        raise DatasetError(
            f"{path}, byte 0: expected how many vectors there are, and of what dimension, as in"
            " word2vec's binary files: is it one?"
        )
    count, dimension = header

    def entries() -> Iterator[Entry]:
        at = len(line)
        for number in range(count):
            word = bytearray()
            while (byte := file.read(1)) != b" ":
                if not byte:
                    raise _cut_off(path, number, count)
                word += byte
                if len(word) > LONGEST_WORD:
                    raise DatasetError(
                        f"{path}, byte {at:,}: no word ends within {LONGEST_WORD:,} bytes: is it"
                        " word2vec's binary format?"
                    )
            numbers = file.read(4 * dimension)
            if len(numbers) < 4 * dimension:
                raise _cut_off(path, number, count)
            # The C program ends a vector with a newline, and gensim doesn't.
            yield Entry(word.lstrip(b"\n").decode(errors="replace"), numbers, "byte", at)
            at += len(word) + 1 + len(numbers)

    return dimension, entries()


def _text(file: io.BufferedReader, path: Path) -> tuple[int, Iterator[Entry]]:
    first = file.readline(LONGEST_LINE)
    header = _header(first)
    dimension = header[1] if header else first.rstrip().count(b" ")
    if not 0 < dimension <= LARGEST_DIMENSION:
        raise DatasetError(
            f"{path}, line 1: expected a word and its numbers, with spaces between them, or how"
            " many vectors there are and of what dimension"
        )

    def lines() -> Iterator[tuple[int, bytes]]:
        if not header:
            yield 1, first
        number = 1
        while line := file.readline(LONGEST_LINE):
            number += 1
            yield number, line

    def entries() -> Iterator[Entry]:
        have = 0
        for number, line in lines():
            if header and have == header[0]:
                return
            line = line.rstrip(b"\r\n ")
            # A few of GloVe's words have spaces in them: the last D fields are the numbers.
            if line.count(b" ") == dimension:
                word, _, numbers = line.partition(b" ")
            elif line.count(b" ") > dimension:
                word, *fields = line.rsplit(b" ", dimension)
                numbers = b" ".join(fields)
            else:
                raise DatasetError(
                    f"{path}, line {number:,}: expected a word and {dimension} numbers: the file"
                    " is cut off or damaged: get it again"
                )
            have += 1
            yield Entry(word.decode(errors="replace"), numbers, "line", number)
        if header and have < header[0]:
            raise _cut_off(path, have, header[0])

    return dimension, entries()
