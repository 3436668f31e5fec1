"""The laws of the splits: nothing lost, none twice, each class (or group) where it belongs."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets import DatasetError, Example
from pipelines.datasets.splitting import hold_out, hold_out_groups, require_examples, split_own

SEEDS = st.integers(0, 2**32 - 1)


def class_sizes(smallest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(smallest, 40), min_size=1, max_size=6)


def make_examples(sizes: list[int]) -> list[Example]:
    """Classes in turn, so that a class is not one run of positions."""
    longest = max(sizes)
    return [Example(f"{c}-{i}", c) for i in range(longest) for c, n in enumerate(sizes) if i < n]


@given(class_sizes(2), st.floats(0.01, 0.99), SEEDS)
def test_hold_out_is_a_stratified_partition(sizes, fraction, seed):
    examples = make_examples(sizes)
    rest, held = hold_out(examples, fraction, seed)
    assert sorted(rest + held) == sorted(examples)
    assert rest == [e for e in examples if e in set(rest)]
    assert held == [e for e in examples if e in set(held)]
    counts = Counter(e.class_id for e in held)
    for class_id, size in enumerate(sizes):
        assert 1 <= counts[class_id] <= size - 1
        assert abs(counts[class_id] - fraction * size) <= 1
    assert hold_out(examples, fraction, seed) == (rest, held)


@given(class_sizes(3), SEEDS)
def test_own_data_has_every_class_in_every_split(sizes, seed):
    examples = make_examples(sizes)
    splits = split_own(examples, seed)
    assert sorted(chain(*splits)) == sorted(examples)
    for split in splits:
        assert {e.class_id for e in split} == set(range(len(sizes)))
    assert split_own(examples, seed) == splits


def test_own_data_is_split_80_10_10():
    train, validation, test = split_own(make_examples([10, 200]), seed=5)
    for split, expected in ((train, (8, 160)), (validation, (1, 20)), (test, (1, 20))):
        counts = Counter(e.class_id for e in split)
        assert (counts[0], counts[1]) == expected


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.floats(0.05, 0.5), SEEDS)
def test_groups_stay_together(groups, fraction, seed):
    examples = [Example(f"{group}/{i}", 0) for i, group in enumerate(groups)]

    def group_of(example):
        return example.source.split("/")[0]

    rest, held = hold_out_groups(examples, group_of, fraction, seed)
    assert sorted(rest + held) == sorted(examples)
    assert not set(map(group_of, rest)) & set(map(group_of, held))
    assert len(held) >= fraction * len(examples)
    largest = max(Counter(groups).values())
    assert len(held) < fraction * len(examples) + largest


def test_another_seed_is_another_split():
    examples = make_examples([40, 40])
    assert hold_out(examples, 0.5, seed=0) != hold_out(examples, 0.5, seed=1)


def test_a_seed_means_the_same_split_for_ever():
    _, held = hold_out(make_examples([10, 10]), 0.3, seed=0)
    assert [e.source for e in held] == ["1-0", "0-3", "1-4", "0-6", "0-7", "1-9"]


def test_a_single_example_cannot_be_split():
    with pytest.raises(DatasetError, match="one example"):
        hold_out([Example("a", 0), Example("b", 0), Example("c", 1)], 0.1, seed=0)


def test_too_few_examples_are_named_and_counted():
    examples = [Example("x", 0)] * 3 + [Example("y", 1)] * 2
    with pytest.raises(DatasetError, match=r"pets: .*at least 3 .*fewer: dog \(2\), emu \(0\);"):
        require_examples(examples, ("cat", "dog", "emu"), 3, "pets")
    with pytest.raises(DatasetError, match=r"pets has one class \(cat\)"):
        require_examples(examples[:3], ("cat",), 3, "pets")
