"""Which mistakes come first."""

import numpy as np

from pipelines.evaluation.mistakes import Confusion, Mistake, most_confident, most_frequent

LABELS = ["cat", "dog"]


def test_the_surest_wrong_answers_come_first_and_right_ones_never():
    scores = np.array([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3], [0.1, 0.9]], np.float32)
    found = most_confident(np.array([1, 1, 0, 0]), scores, ["a", "b", "c", "d"], LABELS)
    assert [mistake.source for mistake in found] == ["b", "d", "a"]
    score, true_score = np.float32([0.9, 0.1]).tolist()
    assert found[0] == Mistake("b", "dog", "cat", score, true_score)


def test_of_equals_the_first_example_and_no_more_than_wanted():
    scores = np.tile(np.array([0.8, 0.2], np.float32), (30, 1))
    found = most_confident(np.ones(30, int), scores, [str(i) for i in range(30)], LABELS)
    assert [mistake.source for mistake in found] == [str(i) for i in range(24)]


def test_confusions_by_count_without_the_diagonal():
    counts = np.array([[9, 2, 0], [5, 1, 2], [0, 0, 4]])
    assert most_frequent(counts, ["a", "b", "c"]) == [
        Confusion("b", "a", 5),
        Confusion("a", "b", 2),
        Confusion("b", "c", 2),
    ]
    assert len(most_frequent(counts, ["a", "b", "c"], count=1)) == 1
