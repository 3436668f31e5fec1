"""Which batches are with an executor, and which one goes ahead. Times are numbers."""

import math

import pytest

from serving.batch import Batch
from serving.lanes import EARLY_SECONDS, Lanes
from tests.serving.batcher_fakes import Immediate

SECONDS = 5.0  # that each batch computes


class Two(Immediate):
    lanes = 2
    queues = True

    def __init__(self): ...


class TwoOfOurThreads(Two):
    queues = False


def batch(threads=1):
    return Batch([], batched=True, sizes=(), alone=False, threads=threads)


@pytest.fixture
def lanes():
    """It is known how long a batch computes."""
    return used(Lanes(Two()))


def used(lanes):
    take(lanes, one := batch(), at=-9.0)
    lanes.end(one, SECONDS, now=-9.0 + SECONDS)
    lanes.leave(one, now=SECONDS)
    return lanes


def take(lanes, *batches, at=0.0):
    for one in batches:
        lanes.take(one, at)


def test_a_lane_is_free_until_each_has_a_batch(lanes):
    for _ in range(2):
        assert lanes.has_free
        take(lanes, batch())
    assert not lanes.has_free
    assert len(lanes) == 2


def test_who_goes_ahead_has_no_lane(lanes):
    take(lanes, one := batch(), batch(), batch(threads=0))
    assert not lanes.has_free
    assert len(lanes) == 3
    lanes.end(one, SECONDS, now=SECONDS)
    lanes.leave(one, now=SECONDS)
    assert not lanes.has_free
    assert len(lanes) == 2


def test_it_is_early_shortly_before_the_first_lane_ends(lanes):
    take(lanes, batch(), at=1.0)
    take(lanes, batch(), at=2.0)
    assert lanes.seconds_to_early(now=3.0) == pytest.approx(1.0 + SECONDS - EARLY_SECONDS - 3.0)


def test_a_batch_that_failed_tells_nothing_of_how_long_they_take(lanes):
    take(lanes, failed := batch(), batch(), at=0.0)
    lanes.end(failed, 0.0, now=1.0)
    lanes.leave(failed, now=SECONDS)
    take(lanes, batch(), at=1.0)
    assert lanes.seconds_to_early(now=1.0) == pytest.approx(SECONDS - EARLY_SECONDS - 1.0)


def test_the_first_to_end_gives_its_lane_and_its_threads(lanes):
    take(lanes, one := batch(threads=4), other := batch(), ahead := batch(threads=0))
    lanes.end(one, SECONDS, now=SECONDS)
    assert (one.threads, other.threads, ahead.threads) == (0, 1, 4)
    assert ahead.lane_since == SECONDS


def test_who_has_a_lane_to_give_when_it_is_told_gives_it_to_who_went_ahead_meanwhile(lanes):
    take(lanes, one := batch(threads=4), batch())
    lanes.end(one, SECONDS, now=SECONDS)
    take(lanes, ahead := batch(threads=0))
    assert not lanes.is_told(one)
    lanes.leave(one, now=SECONDS + 1.0)
    assert lanes.is_told(one)
    assert (one.threads, ahead.threads) == (0, 4)
    assert ahead.lane_since == SECONDS + 1.0


def test_no_end_is_in_sight_of_who_has_ended(lanes):
    take(lanes, one := batch(), other := batch())
    lanes.end(one, SECONDS, now=SECONDS)
    lanes.end(other, SECONDS, now=SECONDS)
    assert lanes.seconds_to_early(now=100.0) == math.inf


def test_who_has_given_its_lane_is_not_waited_for(lanes):
    take(lanes, one := batch(), at=0.0)
    take(lanes, batch(), batch(threads=0), at=2.0)
    lanes.end(one, SECONDS, now=3.0)
    assert lanes.seconds_to_early(now=3.0) == pytest.approx(2.0 + SECONDS - EARLY_SECONDS - 3.0)


@pytest.mark.parametrize(
    ("executor", "threads"),
    [
        (Two, [1]),  # a lane is free
        (Two, [1, 1, 0]),  # one is ahead
        (TwoOfOurThreads, [1, 1]),  # it has no queue
    ],
)
def test_there_is_no_place_ahead(executor, threads):
    lanes = used(Lanes(executor()))
    take(lanes, *map(batch, threads))
    assert lanes.seconds_to_early(now=100.0) == math.inf


def test_before_a_batch_has_ended_no_end_is_in_sight():
    lanes = Lanes(Two())
    take(lanes, batch(), batch())
    assert lanes.seconds_to_early(now=100.0) == math.inf


def test_rows_are_of_all_that_are_not_told():
    class Rows:
        def __init__(self, rows):
            self.rows = rows
            self.threads = 1
            self.lane_since = 0.0

    lanes = Lanes(Two())
    take(lanes, one := Rows(3), Rows(4))
    assert lanes.rows == 7
    lanes.end(one, SECONDS, now=1.0)
    assert lanes.rows == 7
    lanes.leave(one, now=SECONDS)
    assert lanes.rows == 4
