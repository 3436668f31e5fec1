"""Windows of texts: against the text itself, and the tokens of the graph that reads it."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.batch.errors import BatchError
from pipelines.batch.predictor import Predictor
from pipelines.batch.text_windows import PROBE, TextWindows, tokens
from pipelines.preprocessing.text import TextPreprocessing
from serving.runtime.decoding import DEFAULT_LIMITS
from tests.pipelines.batch.conftest import OPENING
from tests.serving.conftest import Tiny

TEXTS = [
    "Who wrote 'Hamlet'?  Not me,\tsurely; nor you.",
    "卷积神经网络,这里没有空格。",
    "ça va — e\u0301te\u0301, 3,50 € d'été…".replace("…", "."),
    "हिन्दी में एक वाक्य।",
    " \n leading and trailing \u3000",
    "snake_case a-b C++ #1",
]
WORDS = TextPreprocessing(["ab"], unit="word", max_tokens=64)
READERS = {
    "word": WORDS,
    "character": TextPreprocessing(["a", "b"], unit="character", max_tokens=64),
    "space": TextPreprocessing(["a", "b"], unit="character", max_tokens=64, keep_spaces=True),
}


PROBED = {unit: reader.preprocess(PROBE).numpy() for unit, reader in READERS.items()}


def windows(window: float, hop: float, unit: str = "word") -> TextWindows:
    return TextWindows(window, hop, 64, lambda text: PROBED[unit], DEFAULT_LIMITS)


@pytest.mark.parametrize("unit", READERS)
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_that_the_graph_reads(text: str, unit: str) -> None:
    """One for one; of the words each is written as the graph has it, but for capitals."""
    found = [text[start:end] for start, end in tokens(text, unit)]
    wanted = [token.decode() for token in READERS[unit].tokens(tf.constant(text)).numpy()]
    assert len(found) == len(wanted)
    if unit == "word" and text.isascii():
        assert [token.lower() for token in found] == wanted


@given(
    text=st.text(st.sampled_from("ab ,\n\u0301\u3000語-"), min_size=1, max_size=80),
    window=st.integers(1, 20),
    hop=st.integers(1, 20),
    unit=st.sampled_from(list(READERS)),
)
@settings(deadline=None, max_examples=100)
def test_windows_leave_nothing_out_but_space(text: str, window: int, hop: int, unit: str) -> None:
    if not text.strip():
        return
    hop = min(hop, window)
    seen = np.zeros(len(text), bool)
    spans = list(tokens(text, unit))
    parts = list(windows(window, hop, unit).cut(text))
    before = 0
    for part, (start, end) in parts:
        assert part == text[start:end]
        if len(spans) >= window:
            assert len([s for s in spans if start <= s[0] and s[1] <= end]) == window
        assert end > before  # each has something new
        before = end
        seen[start:end] = True
    assert all(text[place].isspace() for place in np.flatnonzero(~seen))
    assert len(parts) == 1 + max(0, -(-(len(spans) - window) // hop))


@pytest.mark.parametrize(
    ("window", "hop", "reason"),
    [(1.5, 1, "whole numbers"), (65, 10, "--window 64 or less"), (10, 11, "does not fit")],
)
def test_windows_that_cannot_be_are_refused(window: float, hop: float, reason: str) -> None:
    with pytest.raises(BatchError, match=reason):
        windows(window, hop)


def test_rows_are_those_of_the_cut_text(models, tiny: Tiny) -> None:
    """Each window by itself, through TensorFlow alone. Tiny's tokens are characters."""
    text = "a text of more than a few characters, so that it needs windows"
    options = {"window": 16, "hop": 10, "all_scores": True, **OPENING}
    table = pa.table({"input": ["it", "empty"], "data": [text, " "]})
    *rows, empty = Predictor("text", repository=models, **options)(table).to_pylist()
    assert "empty" in empty["error"]
    assert empty["start_character"] is None
    ends = [row["end_character"] for row in rows]
    assert ends == [16, 26, 36, 46, 56, len(text)]
    for row in rows:
        assert row["start_character"] == row["end_character"] - 16
        wanted = tiny.scores("text", text[row["start_character"] : row["end_character"]])
        np.testing.assert_allclose(row["all_scores"], wanted, atol=1e-5)
    joined = Predictor("text", repository=models, with_events=True, **options)(table).to_pylist()
    assert (joined[0]["start_character"], joined[-2]["end_character"]) == (0, len(text))
