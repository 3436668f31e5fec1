"""Long texts by windows: of words and punctuation marks, or of characters, as the network reads.

The tokens here are those of pipelines/preprocessing/text.py with their places in the text as it was
written; only where one written character stands for several (… for three points) are they fewer.
"""

from collections import deque
from collections.abc import Callable, Iterator
from unicodedata import category, normalize

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.batch.errors import BatchError
from serving.runtime.decoding import Limits, decode_text

PLACES = (pa.field("start_character", pa.int64()), pa.field("end_character", pa.int64()))
PROBE = "ab ab"  # two words, four characters, five with the space
UNITS = {4: "character", 5: "space"}
PADDING_ID = 0

Span = tuple[int, int]
Preprocess = Callable[[str], npt.NDArray[np.int32]]


class TextWindows:
    """Windows of so many tokens, all of them full; the last ends where the text does.

    A text that is shorter than one window is one row. Windows begin and end with a token, so that
    the white space between two of them may be in neither.

    Args:   preprocess: the artefact's own, which tells what its tokens are.
    Raises: BatchError if a window is not a whole number of tokens, is longer than what the network
            reads of a text, or does not fit the hop.
    """

    position = PLACES

    def __init__(
        self, window: float, hop: float, max_tokens: int, preprocess: Preprocess, limits: Limits
    ):
        if window != int(window) or hop != int(hop):
            raise BatchError(
                f"windows of a text are whole numbers of tokens, and {window:g} and {hop:g} were "
                "given: --window 200 --hop 100, say"
            )
        if window > max_tokens:
            raise BatchError(
                f"the network reads {max_tokens:,} tokens of a text, and windows would have "
                f"{window:,.0f}: take --window {max_tokens} or less"
            )
        if not 1 <= hop <= window:
            raise BatchError(
                f"a hop of {hop:g} tokens does not fit windows of {window:g}: take one that is no "
                "longer, or what is between the windows would not be read"
            )
        self._window, self._hop = int(window), int(hop)
        self._unit = UNITS.get(int(np.count_nonzero(preprocess(PROBE) != PADDING_ID)), "word")
        self._limits = limits

    def cut(self, item: bytes | str) -> Iterator[tuple[str, tuple[float, ...]]]:
        text = decode_text(item, self._limits)
        kept: deque[Span] = deque(maxlen=self._window)
        number = 0
        told = -1  # the end of the last window
        for number, span in enumerate(tokens(text, self._unit), 1):
            kept.append(span)
            if number >= self._window and (number - self._window) % self._hop == 0:
                told = number
                yield _part(text, kept)
        if number < self._window:
            yield text, (0, len(text))
        elif told != number:
            yield _part(text, kept)


def _part(text: str, kept: deque[Span]) -> tuple[str, tuple[float, ...]]:
    start, end = kept[0][0], kept[-1][1]
    return text[start:end], (start, end)


def tokens(text: str, unit: str) -> Iterator[Span]:
    """From where to where each one is.

    Args: unit: "word": also each punctuation mark and symbol; "character": but for white space;
          "space": that too. A combining mark is a part of its word, and of a character with which
          it makes one, as e and ´.
    """
    start: int | None = None  # of the token that is being read
    in_word = False
    for place, character in enumerate(text):
        kind = category(character)[0]
        space = unit != "space" and (kind == "Z" or character.isspace())
        alone = unit != "word" or kind in "PS"
        if start is not None and not space:
            joins = in_word and not alone
            if kind == "M":
                joins = unit == "word" or len(normalize("NFC", text[start : place + 1])) == 1
            if joins:
                continue
        if start is not None:
            yield start, place
        start = None if space else place
        in_word = not space and not alone
    if start is not None:
        yield start, len(text)
