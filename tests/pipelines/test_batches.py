"""Batches: each example once an epoch, padded only where that is allowed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.augmentation import crop, crop_and_flip, drop_words
from pipelines.batches import MeasuringBatches, TrainingBatches, as_dataset
from pipelines.examples import Examples


def examples(lengths: list[int]) -> Examples:
    values = [np.full((n, 2), i, np.float32) for i, n in enumerate(lengths)]
    return Examples(values, np.arange(len(lengths), dtype=np.int32), [""] * len(lengths))


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 16))
def test_each_example_comes_once_an_epoch(lengths: list[int], batch_size: int) -> None:
    training = TrainingBatches(examples(lengths), batch_size, None, silence=-1)
    measuring = MeasuringBatches(examples(lengths), batch_size)
    for batches in (training, training, measuring):
        seen = np.concatenate([class_ids for _, class_ids in batches])
        assert sorted(seen) == list(range(len(lengths)))
        assert len(list(batches)) == len(batches)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.booleans())
def test_padding_is_silence_around_the_whole_example(lengths: list[int], centre: bool) -> None:
    for values, class_ids in TrainingBatches(examples(lengths), 8, None, silence=-1, centre=centre):
        for value, i in zip(values, class_ids, strict=True):
            assert (value[:, 0] == i).sum() == lengths[i]
            assert (value[:, 0] == -1).sum() == len(value) - lengths[i]


@settings(max_examples=50, deadline=None)
@given(LENGTHS)
def test_measuring_pads_nothing(lengths: list[int]) -> None:
    for values, class_ids in MeasuringBatches(examples(lengths), 8):
        assert {lengths[i] for i in class_ids} == {values.shape[1]}


def test_as_dataset_takes_any_length() -> None:
    import tensorflow as tf

    batches = MeasuringBatches(examples([3, 5, 3]), 2)
    shapes = [x.shape for x, _ in as_dataset(batches, tf.TensorSpec([None, 2], tf.float32))]
    assert sorted(map(tuple, shapes)) == [(1, 5, 2), (2, 3, 2)]


@pytest.mark.parametrize("augmentation", [crop, crop_and_flip])
def test_a_crop_holds_pixels_of_the_picture_or_padding(augmentation) -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(1, 2, (32, 32, 3)).astype(np.float32)
    for _ in range(20):
        got = augmentation(image, rng)
        assert got.shape == image.shape
        assert np.isin(got[got != 0], image).all()


def test_row_110_a_crop_starts_at_every_position_ends_included() -> None:
    """4 pixels on each side of 32 make 9 positions each way, as 256 - 224 make 33 and not 32."""
    rng = np.random.default_rng(0)
    image = np.arange(1, 32 * 32 + 1, dtype=np.float32).reshape(32, 32, 1)
    centres = [divmod(int(crop(image, rng)[16, 16, 0]) - 1, 32) for _ in range(2000)]
    assert set(centres) == {(row, column) for row in range(12, 21) for column in range(12, 21)}


def test_padding_is_no_word_to_drop() -> None:
    rng = np.random.default_rng(0)
    tokens = np.array([5] * 400 + [0] * 400, np.int32)
    dropped = drop_words(tokens, rng)
    assert 0 < (dropped[:400] == 1).sum() < 60
    assert not dropped[400:].any()
