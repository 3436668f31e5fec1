"""What is computed next. Calls are rows without values, times are numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.batch import Call
from serving.batch_scheduler import Batching, BatchScheduler
from serving.compute_budget import ComputeBudget
from serving.errors import QueueFull
from serving.lanes import EARLY_SECONDS
from tests.serving.batcher_fakes import Immediate

SECONDS = 5.0  # that each batch computes


class Queueing(Immediate):
    queues = True


def call(rows=1, width=1, expires_at=math.inf):
    return Call({"x": np.zeros((rows, width))}, rows, None, 0.0, expires_at)


def scheduler(budget=None, lanes=2, **batching):
    executor = Queueing(lanes=lanes)
    budget = budget or ComputeBudget(lanes)
    return BatchScheduler(executor, Batching(**batching), budget, batched=True)


def put(one, *calls, now=0.0, priority=0):
    one.put(calls, now, priority)
    return calls


def begin(one, now=0.0, answered=0, again=lambda: None):
    return one.begin(now, answered, again)


def begin_all(one, now=0.0):
    begun = []
    while batch := begin(one, now):
        begun.append(batch)
    return begun


def test_who_is_alone_has_the_threads_of_all_lanes_and_the_next_one_those_of_its_own():
    one = scheduler(budget := ComputeBudget(2))
    put(one, call())
    first = begin(one)
    assert (first.alone, first.threads) == (True, 2)
    put(one, call(), call())
    assert begin(one) is None  # all threads are the first one's
    one.end(first, SECONDS, now=SECONDS)
    one.leave(first, now=SECONDS)
    budget.give_back(first.threads)
    assert [(b.alone, b.threads) for b in begin_all(one)] == [(False, 1), (False, 1)]


def test_who_has_many_rows_is_alone_too():
    one = scheduler()
    put(one, call(rows=16))
    assert begin(one).alone


def test_beside_another_models_batch_nobody_is_alone():
    budget = ComputeBudget(2)
    budget.take(1, again=lambda: None)
    one = scheduler(budget)
    put(one, call())
    assert not begin(one).alone


def test_what_the_budget_refuses_is_told_once_there_are_threads():
    budget = ComputeBudget(2)
    budget.take(2, again=lambda: None)
    one = scheduler(budget)
    put(one, call())
    begun = []
    again = lambda: begun.append(begin(one, again=again))  # noqa: E731
    assert begin(one, again=again) is None
    budget.give_back(2)
    assert [batch.rows for batch in begun] == [1]


@pytest.mark.parametrize(
    ("waiting", "sizes"),
    [(2, [1, 1]), (3, [1, 1]), (8, [2, 2]), (12, [4, 4]), (64, [16, 16]), (200, [32, 32])],
)
def test_each_lane_takes_its_share_in_one_of_few_sizes(waiting, sizes):
    one = scheduler()
    put(one, *[call() for _ in range(waiting)])
    assert [batch.rows for batch in begin_all(one)] == sizes


def test_those_just_answered_count_as_still_here():
    one = scheduler()
    put(one, *[call() for _ in range(4)])
    assert begin(one, answered=12).rows == 4


def test_who_waits_for_full_batches_gets_them_full():
    one = scheduler(max_batch_size=4, batch_timeout_seconds=1.0)
    put(one, *[call() for _ in range(3)])
    assert begin(one) is None
    assert one.wake_at(0.0) == 1.0
    put(one, call(), now=0.5)
    assert begin(one, now=0.5).rows == 4


def test_what_is_not_full_goes_in_the_end_or_as_soon_as_it_closes():
    for closing, now in ((False, 1.0), (True, 0.0)):
        one = scheduler(max_batch_size=4, batch_timeout_seconds=1.0)
        put(one, call())
        one.closing = closing
        assert begin(one, now=now).rows == 1


def test_only_one_shape_shares_a_batch_and_the_urgent_go_first():
    one = scheduler(max_batch_size=8)
    slim, wide, urgent = call(), call(width=2), call()
    put(one, slim, wide)
    put(one, urgent, priority=-1)
    put(one, *[call() for _ in range(8)])  # a lane's share is of four
    assert begin(one).calls[:2] == [urgent, slim]
    assert begin(one).calls == [wide]


def test_a_caller_with_several_is_taken_whole_or_not_at_all():
    one = scheduler(max_queue_size=3)
    put(one, call(), call())
    with pytest.raises(QueueFull):
        put(one, call(), call())
    assert len(one) == 2
    put(one, call())


def busy(waiting=8, budget=None):
    """Both lanes have a batch since 0, it is known how long one takes, and others wait."""
    one = scheduler(budget := budget or ComputeBudget(2))
    put(one, call(), now=-9.0)
    warm = begin(one, now=-9.0)
    one.end(warm, SECONDS, now=-4.0)
    one.leave(warm, now=-4.0)
    budget.give_back(warm.threads)
    put(one, *[call() for _ in range(waiting)])
    begun = begin_all(one)
    assert len(begun) == 2
    return one, begun


def test_one_goes_ahead_shortly_before_a_lane_ends():
    one, _ = busy()
    assert one.seconds_to_early(1.0) == SECONDS - EARLY_SECONDS - 1.0
    ahead = one.go_ahead(SECONDS)
    assert ahead.threads == 0
    assert one.seconds_to_early(SECONDS) == math.inf  # there is one already


def test_none_goes_ahead_of_too_few():
    one, _ = busy(waiting=2)
    assert one.seconds_to_early(0.0) == math.inf  # none waits
    put(one, call())
    assert one.seconds_to_early(0.0) < math.inf  # a lane's share is one
    assert one.seconds_to_early(0.0, answered=32) == math.inf  # it is more


def test_none_goes_ahead_of_another_model_that_waits_for_threads():
    one, _ = busy(budget=(budget := ComputeBudget(2)))
    assert not budget.take(1, again=lambda: None)
    assert one.seconds_to_early(0.0) == math.inf


def test_the_next_one_has_the_lane_and_the_threads_of_who_ends():
    one, (first, second) = busy()
    one.end(first, SECONDS, now=SECONDS)
    after = one.follow(first, SECONDS)
    assert (after.threads, first.threads, second.threads) == (1, 0, 1)
    one.leave(first, SECONDS)
    assert one.is_told(first)
    assert not one.is_told(after)


def test_none_follows_who_gave_its_lane_on():
    one, (first, _) = busy()
    ahead = one.go_ahead(SECONDS)
    one.end(first, SECONDS, now=SECONDS)
    assert (ahead.threads, first.threads) == (1, 0)
    assert one.follow(first, SECONDS) is None


def test_none_follows_who_was_alone_as_it_had_all_threads():
    one = scheduler()
    put(one, call())
    first = begin(one)
    put(one, call())
    one.end(first, SECONDS, now=SECONDS)
    assert one.follow(first, SECONDS) is None


def test_none_follows_where_another_model_waits_for_threads():
    one, (first, _) = busy(budget=(budget := ComputeBudget(2)))
    assert not budget.take(1, again=lambda: None)
    one.end(first, SECONDS, now=SECONDS)
    assert one.follow(first, SECONDS) is None


def test_what_is_due_is_looked_at_again_when_one_expires():
    one, _ = busy()
    assert one.wake_at(0.0) is None  # a lane's end tells
    late = call(expires_at=3.0)
    put(one, late)
    assert one.wake_at(0.0) == 3.0
    assert one.expire(3.0) == [late]


STEPS = st.lists(
    st.one_of(
        st.integers(1, 8).map(lambda rows: ("come", rows)),
        st.just(("ahead", 0)),
        st.integers(0, 2).map(lambda which: ("end", which)),
    ),
    max_size=100,
)


@given(STEPS, st.integers(1, 3))
def test_all_are_computed_once_in_order_within_the_size_the_lanes_and_the_budget(steps, lanes):
    one = scheduler(budget := ComputeBudget(lanes), lanes=lanes, max_batch_size=8)
    came, taken, running, now = [], [], [], 0.0

    def run(batch):
        running.append(batch)
        taken.extend(batch.calls)

    def end(which):
        in_lanes = [batch for batch in running if batch.threads]
        batch = in_lanes[which % len(in_lanes)]
        running.remove(batch)
        one.end(batch, SECONDS, now)
        if after := one.follow(batch, now):
            run(after)
        one.leave(batch, now)
        budget.give_back(batch.threads)

    for what, number in steps + [("end", 0)] * len(steps):
        now += 1.0
        if what == "come":
            came += put(one, call(number), now=now)
        elif what == "ahead" and one.seconds_to_early(now) <= 0:
            run(one.go_ahead(now))
        elif what == "end" and running:
            end(number)
        for batch in begin_all(one, now):
            run(batch)
        assert all(batch.rows <= 8 for batch in running)
        assert len([batch for batch in running if batch.threads]) <= lanes
        assert sum(batch.threads for batch in running) <= lanes
    assert taken == came  # a call is equal to itself alone
    assert one.is_idle
