"""Text preprocessing: Unicode as Python's unicodedata has it, tokens, numbers, padding."""

import inspect
import unicodedata
from itertools import pairwise

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from pipelines.preprocessing.text import PADDING_ID, UNKNOWN_ID, TextPreprocessing
from pipelines.preprocessing.unicode import NormaliseUnicode, normalise


@pytest.fixture(scope="module")
def graph():
    return tf.function(NormaliseUnicode(), [tf.TensorSpec([], tf.string)])


def in_graph(graph, text: str) -> str:
    return graph(tf.constant(text.encode())).numpy().decode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ÉCOLE", "école"),
        ("E\u0301cole", "école"),
        ("Straße", "strasse"),
        ("ＡＢＣ１２", "abc12"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("ﬁn", "fin"),
        ("ｶﾞ", "ガ"),
        ("\u1112\u1161\u11ab", "한"),
        ("e\u0323\u0302", "ệ"),
        ("Việt Nam", "việt nam"),
        ("卷积，世界！", "卷积,世界!"),
        ("①½", "11⁄2"),
        ("", ""),
    ],
)
def test_known_cases(graph, text: str, wanted: str) -> None:
    assert normalise(text) == wanted
    assert in_graph(graph, text) == wanted


# Marks in another order than the canonical one, and a mark that composes past another, are the
# documented difference: at most one mark after a letter here.
LETTER = st.characters(exclude_categories=["Cs", "Mn", "Mc", "Me"])
MARKED = st.tuples(LETTER, st.sampled_from(["", "\u0301", "\u0308", "\u0327", "\u3099"])).map(
    "".join
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MARKED, max_size=8).map("".join))
def test_the_graph_is_unicodedatas_nfkc_with_case_folding(graph, text: str) -> None:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if all(_canonical(part) for part in (text, folded)):
        assert in_graph(graph, text) == folded


def _canonical(text: str) -> bool:
    """No letter of it brings marks of its own before the one that follows."""
    decomposed = unicodedata.normalize("NFKD", text)
    classes = [unicodedata.combining(c) for c in decomposed]
    return all(not (a and b) for a, b in pairwise(classes))


def tokens(inputs: TextPreprocessing, text: str) -> list[str]:
    return [t.decode() for t in inputs.tokens(tf.constant(text)).numpy()]


def test_words_and_punctuation() -> None:
    inputs = TextPreprocessing(unit="word")
    assert tokens(inputs, " What's  the\tcapital?") == ["what", "'", "s", "the", "capital", "?"]
    assert tokens(inputs, "卷积，世界！") == ["卷积", ",", "世界", "!"]


def test_characters() -> None:
    inputs = TextPreprocessing(unit="character")
    assert tokens(inputs, "卷积 网络 CNN") == [*"卷积网络cnn"]


def test_ids_and_padding() -> None:
    inputs = TextPreprocessing(vocabulary=["a", "b"], max_tokens=20)
    ids = inputs.preprocess(tf.constant("a x B")).numpy().tolist()
    assert ids == [2, UNKNOWN_ID, 3, *[PADDING_ID] * 5]
    lengths = [len(inputs.preprocess(tf.constant("a " * n))) for n in (1, 8, 9, 17, 20, 99)]
    assert lengths == [8, 8, 16, 20, 20, 20]


def test_the_vocabulary_is_pinned_ties_by_code_point() -> None:
    inputs = TextPreprocessing().fit(["b a", "c a", "É"])
    assert inputs.get_config()["vocabulary"] == ["a", "b", "c", "é"]
    again = TextPreprocessing(**inputs.get_config())
    text = tf.constant("e\u0301 a nothing")
    assert again.preprocess(text).numpy().tolist() == inputs.preprocess(text).numpy().tolist()


def test_spaces_are_characters_where_they_are_kept() -> None:
    inputs = TextPreprocessing(unit="character", keep_spaces=True)
    assert tokens(inputs, "A b\n c") == [*"a b\n c"]


def test_a_text_may_be_read_backwards_from_its_end() -> None:
    """As Crepe's stringToTensor, which numbers places from the last character."""
    inputs = TextPreprocessing([*"abc"], "character", max_tokens=3, backwards=True)
    assert inputs.preprocess(tf.constant("cab")).numpy().tolist() == [3, 2, 4]
    assert inputs.preprocess(tf.constant("aacab")).numpy().tolist() == [3, 2, 4]
    assert inputs.preprocess(tf.constant("c")).numpy().tolist() == [4, 0, 0]


def test_the_shortest_padding_and_a_fixed_one() -> None:
    inputs = TextPreprocessing(["a"], max_tokens=100, shortest=20)
    lengths = [len(inputs.preprocess(tf.constant("a " * n))) for n in (0, 20, 21, 33, 65, 200)]
    assert lengths == [20, 20, 32, 64, 100, 100]
    fixed = TextPreprocessing(["a"], max_tokens=20, shortest=20)
    assert fixed.example_spec.shape == (20,)
    assert fixed.preprocess(tf.constant("a")).shape == (20,)


def test_an_alphabet_stays_as_it_is() -> None:
    """A newline may be in it; of a repeated character the later number counts, as in Crepe."""
    inputs = TextPreprocessing([*"-a\n-"], "character", keep_spaces=True).fit(["xyz"])
    assert inputs.get_config()["vocabulary"] == [*"-a\n-"]
    assert inputs.vocabulary_size == 6
    again = TextPreprocessing(**inputs.get_config())
    wanted = [5, 3, 4, UNKNOWN_ID]
    assert again.preprocess(tf.constant("-A\nx")).numpy().tolist()[:4] == wanted


@pytest.mark.parametrize("name", models.list_models("text"))
def test_what_a_network_asks_for_is_what_preprocessing_gives(name) -> None:
    architecture = models.ARCHITECTURES[name]
    inputs = TextPreprocessing(**architecture.inputs)
    if architecture.inputs:
        takes = inspect.signature(architecture.network).parameters["vocabulary_size"]
        assert inputs.vocabulary_size == takes.default
        assert inputs.unit == "character"
    assert inputs.example_spec.shape[0] in (None, architecture.input_shape[0])


def test_bytes_that_are_not_utf8_become_unknown() -> None:
    inputs = TextPreprocessing(vocabulary=["a"])
    ids = inputs.preprocess(tf.constant(b"a \xff\xfe")).numpy().tolist()
    assert ids[:2] == [2, UNKNOWN_ID]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="word, character"):
        TextPreprocessing(unit="syllable")
