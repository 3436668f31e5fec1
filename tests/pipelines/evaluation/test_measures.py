"""The figures against their definitions, hand-made cases, and the published intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation.measures import measure


@st.composite
def answered(draw):
    """(true, scores, labels), ties among the scores included."""
    classes = draw(st.integers(2, 8))
    examples = draw(st.integers(1, 30))
    true = draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples))
    row = st.lists(st.integers(1, 5), min_size=classes, max_size=classes)
    weights = np.array(draw(st.lists(row, min_size=examples, max_size=examples)), np.float32)
    scores = weights / weights.sum(axis=-1, keepdims=True)
    return np.array(true), scores, [f"class {i}" for i in range(classes)]


@given(answered())
@settings(max_examples=40)
def test_the_figures_are_what_the_confusion_matrix_counts(case):
    true, scores, labels = case
    found = measure(true, scores, labels)
    counts = found.confusion
    assert counts.sum(axis=1).tolist() == np.bincount(true, minlength=len(labels)).tolist()
    assert found.right == np.trace(counts)
    assert found.accuracy == found.right / len(true)
    for i, each in enumerate(found.classes):
        assert (each.examples, each.answered) == (counts[i].sum(), counts[:, i].sum())
        if each.examples:
            assert each.recall == pytest.approx(counts[i, i] / each.examples)
        if each.answered:
            assert each.precision == pytest.approx(counts[i, i] / each.answered)
        if each.examples or each.answered:
            assert each.f1 == pytest.approx(2 * counts[i, i] / (each.examples + each.answered))


@given(answered())
@settings(max_examples=40)
def test_the_best_answer_is_among_the_best_five(case):
    true, scores, labels = case
    found = measure(true, scores, labels)
    if len(labels) <= 5:
        assert found.top5 is None
    else:
        order = np.argsort(-scores, axis=-1, kind="stable")[:, :5]
        assert found.top5 == np.mean([t in best for t, best in zip(true, order, strict=True)])
        assert found.top5 >= found.accuracy


# Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
@pytest.mark.parametrize(
    ("right", "examples", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_the_interval_is_wilsons(right, examples, interval):
    true = (np.arange(examples) >= right).astype(int)
    scores = np.tile(np.array([0.9, 0.1], np.float32), (examples, 1))
    assert measure(true, scores, ["a", "b"]).interval == pytest.approx(interval, abs=5e-5)


def test_a_class_without_answers_has_no_precision_and_one_without_examples_no_recall():
    scores = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], np.float32)
    found = measure(np.array([0, 1, 0]), scores, ["a", "b", "c"])
    a, b, c = found.classes
    assert (a.precision, a.recall, a.f1) == (0.5, 0.5, 0.5)
    assert (b.precision, b.recall, b.f1) == (None, 0.0, 0.0)
    assert (c.precision, c.recall, c.f1) == (0.0, None, 0.0)
    # c has no examples and is in no mean, b no precision.
    assert (found.precision, found.recall, found.f1) == (0.5, 0.25, 0.25)


def test_the_log_loss_is_the_mean_of_the_true_scores_logarithms():
    scores = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], np.float32)
    found = measure(np.array([1, 1]), scores, ["a", "b", "c"])
    assert found.log_loss == pytest.approx(-(np.log(0.25) + np.log(0.8)) / 2, rel=1e-6)


def test_examples_of_one_class_only():
    scores = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)
    found = measure(np.array([0, 0]), scores, ["a", "b"])
    assert (found.accuracy, found.recall, found.precision) == (0.5, 0.5, 1.0)
