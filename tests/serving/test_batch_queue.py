"""The laws of the batch queue, by hypothesis, and the few cases that say what they are for."""

import math
from collections import defaultdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.batch_queue import BatchQueue
from serving.errors import QueueFull


def queue(max_batch_size=4, batch_timeout_seconds=10.0, max_queue_size=100):
    return BatchQueue(max_batch_size, batch_timeout_seconds, max_queue_size)


def put_all(waiting, items, shape="a", now=0.0, **how):
    for item in items:
        waiting.put(item, shape, now, **how)


def test_waits_for_company_until_the_timeout():
    waiting = queue()
    waiting.put("early", "a", 5.0)
    waiting.put("late", "a", 9.0)
    assert waiting.wake_at() == 15.0
    assert not waiting.next_batch(14.9)
    assert waiting.next_batch(15.0) == ["early", "late"]
    assert waiting.wake_at() is None
    assert not waiting.next_batch(99.0)


def test_full_batch_does_not_wait():
    waiting = queue(max_batch_size=3)
    put_all(waiting, range(7))
    assert waiting.wake_at() <= 0.0
    assert waiting.next_batch(0.0) == [0, 1, 2]
    assert waiting.next_batch(0.0) == [3, 4, 5]
    assert not waiting.next_batch(0.0)
    assert len(waiting) == 1


def test_without_a_timeout_everything_is_due():
    waiting = queue(batch_timeout_seconds=0.0)
    put_all(waiting, "xy", now=3.0)
    assert waiting.next_batch(3.0) == ["x", "y"]


def test_flush_takes_what_is_not_due():
    waiting = queue()
    waiting.put("x", "a", 0.0)
    assert not waiting.next_batch(0.0)
    assert waiting.next_batch(0.0, flush=True) == ["x"]


def test_rows_and_not_items_fill_a_batch():
    waiting = queue(max_batch_size=8, batch_timeout_seconds=0.0)
    for item, rows in enumerate([3, 4, 2, 1]):
        waiting.put(item, "a", 0.0, rows=rows)
    assert len(waiting) == 10
    # 1 would fit, and does not overtake 2: else a large one waits as long as small ones come.
    assert waiting.next_batch(0.0) == [0, 1]
    assert waiting.next_batch(0.0) == [2, 3]


def test_a_batch_may_be_asked_to_be_smaller():
    waiting = queue(max_batch_size=8, batch_timeout_seconds=0.0)
    for item, rows in enumerate([5, 2, 2, 1]):
        waiting.put(item, "a", 0.0, rows=rows)
    assert waiting.items == 4
    assert waiting.next_batch(0.0, most=4) == [0]  # larger, and so alone
    assert waiting.next_batch(0.0, most=4) == [1, 2]
    assert waiting.items == 1


def test_what_no_batch_holds_is_the_callers_mistake():
    waiting = queue(max_batch_size=4)
    with pytest.raises(ValueError, match="5 rows in a batch of 4"):
        waiting.put("x", "a", 0.0, rows=5)
    assert len(waiting) == 0
    assert waiting.wake_at() is None


def test_urgent_ones_go_first_and_take_the_others_along():
    waiting = queue(max_batch_size=3, batch_timeout_seconds=0.0)
    put_all(waiting, "abcd", priority=0)
    put_all(waiting, "xy", priority=-1)
    assert waiting.next_batch(0.0) == ["x", "y", "a"]
    assert waiting.next_batch(0.0) == ["b", "c", "d"]


def test_the_shape_of_the_most_urgent_goes_first():
    waiting = queue(batch_timeout_seconds=0.0)
    waiting.put("usual", "a", 0.0)
    waiting.put("urgent", "b", 0.0, priority=-5)
    assert waiting.next_batch(0.0) == ["urgent"]
    assert waiting.next_batch(0.0) == ["usual"]


def test_rare_shape_is_not_starved_by_full_batches_of_another():
    waiting = queue(max_batch_size=2, batch_timeout_seconds=1.0)
    waiting.put("rare", "b", 0.0)
    batches = []
    for now in range(4):
        put_all(waiting, [(now, 0), (now, 1), (now, 2), (now, 3)], "a", float(now))
        batches.append(waiting.next_batch(float(now)))
    assert batches[0] == [(0, 0), (0, 1)]
    assert ["rare"] in batches[:3]


def test_remove_takes_out_one_and_moves_the_deadline():
    waiting = queue()
    waiting.put("first", "a", 0.0)
    waiting.put("second", "a", 4.0)
    assert waiting.remove("first")
    assert not waiting.remove("first")
    assert not waiting.remove("stranger")
    assert waiting.wake_at() == 14.0
    assert waiting.next_batch(14.0) == ["second"]
    assert not waiting.remove("second")


def test_expired_ones_leave_and_nobody_else():
    waiting = queue()
    waiting.put("patient", "a", 0.0)
    waiting.put("hasty", "a", 0.0, expires_at=2.0)
    assert waiting.wake_at() == waiting.expires_at() == 2.0
    assert waiting.expire(1.9) == []
    assert waiting.expire(2.0) == ["hasty"]
    assert waiting.expires_at() is None
    assert waiting.wake_at() == 10.0
    assert waiting.next_batch(10.0) == ["patient"]


def test_who_comes_again_expires_when_it_says_now():
    waiting = queue(batch_timeout_seconds=0.0)
    waiting.put("x", "a", 0.0, expires_at=2.0)
    assert waiting.next_batch(0.0) == ["x"]
    waiting.put("x", "a", 1.0, expires_at=9.0)
    assert waiting.expire(2.0) == []
    assert waiting.expires_at() == 9.0
    assert waiting.expire(9.0) == ["x"]


def test_full_queue_counts_rows_and_names_the_setting():
    waiting = queue(max_queue_size=5)
    waiting.put("x", "a", 0.0, rows=3)
    waiting.require_room(2)
    with pytest.raises(QueueFull, match=r"^3 inputs.*3 more.*over 5.*max_queue_size"):
        waiting.require_room(3)
    waiting.remove("x")
    waiting.require_room(3)


def test_what_comes_alone_is_taken_whatever_its_size():
    waiting = queue(max_queue_size=5)
    waiting.require_room(1000)


@given(st.lists(st.sampled_from("abc")), st.integers(1, 5))
def test_flushed_batches_are_the_arrivals_cut_by_shape(shapes, max_batch_size):
    waiting = queue(max_batch_size)
    for item, shape in enumerate(shapes):
        waiting.put(item, shape, float(item))
    batches = []
    while batch := waiting.next_batch(0.0, flush=True):
        batches.append(batch)
    expected = []
    for shape in set(shapes):
        items = [item for item, other in enumerate(shapes) if other == shape]
        expected += [items[i : i + max_batch_size] for i in range(0, len(items), max_batch_size)]
    assert batches == sorted(expected)


class Waiting:
    def __init__(self, item, shape, since, rows, priority, expires_at):
        self.item, self.shape, self.since = item, shape, since
        self.rows, self.priority, self.expires_at = rows, priority, expires_at
        self.rank = (priority, item)  # items are numbered as they come


class Laws(RuleBasedStateMachine):
    """Against a plain list of what waits."""

    @initialize(size=st.integers(1, 5), timeout=st.sampled_from([0.0, 0.3, 5.0]))
    def begin(self, size, timeout):
        self.size, self.timeout, self.bound = size, timeout, 12
        self.queue = BatchQueue(size, timeout, self.bound)
        self.now, self.arrivals, self.model = 0.0, 0, []
        self.gone = set()  # whatever has left, by whichever door

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(
        shape=st.sampled_from([(1,), (2,), (3,)]),
        rows=st.integers(1, 5),
        priority=st.integers(-1, 1),
        patience=st.sampled_from([0.0, 0.5, 4.0, math.inf]),
    )
    def put(self, shape, rows, priority, patience):
        rows = min(rows, self.size)
        if self.model and sum(row.rows for row in self.model) + rows > self.bound:
            with pytest.raises(QueueFull):
                self.queue.require_room(rows)
            return
        self.queue.require_room(rows)
        row = Waiting(self.arrivals, shape, self.now, rows, priority, self.now + patience)
        self.arrivals += 1
        self.queue.put(
            row.item, shape, self.now, rows=rows, priority=priority, expires_at=row.expires_at
        )
        self.model.append(row)

    @rule(data=st.data())
    def leave(self, data):
        assume(self.arrivals)
        item = data.draw(st.integers(0, self.arrivals - 1))
        assert self.queue.remove(item) == any(item == row.item for row in self.model)
        self.forget([item])

    @rule()
    def expire(self):
        expired = self.queue.expire(self.now)
        assert sorted(expired) == [row.item for row in self.model if row.expires_at <= self.now]
        self.forget(expired)

    @rule(flush=st.booleans())
    def ask(self, flush):
        batch = self.queue.next_batch(self.now, flush)
        by_shape = defaultdict(list)
        for row in sorted(self.model, key=lambda row: row.rank):
            by_shape[row.shape].append(row)
        due = [rows for rows in by_shape.values() if flush or self.is_due(rows)]
        if not due:
            assert not batch
            return
        first = min(due, key=lambda rows: rows[0].rank)
        wanted, room = [], self.size
        for row in first:
            room -= row.rows
            if room < 0:
                break
            wanted.append(row.item)
        assert batch == wanted
        assert batch
        assert not self.gone & set(batch)
        self.forget(batch)

    @rule()
    def nobody_waits_beyond_the_timeout_once_asked(self):
        while batch := self.queue.next_batch(self.now):
            self.forget(batch)
        assert all(self.now < row.since + self.timeout for row in self.model)

    def is_due(self, rows):
        full = sum(row.rows for row in rows) >= self.size
        return full or self.now >= min(row.since for row in rows) + self.timeout

    def forget(self, items):
        self.gone.update(row.item for row in self.model if row.item in items)
        self.model = [row for row in self.model if row.item not in items]

    @invariant()
    def as_many_wait(self):
        assert len(self.queue) == sum(row.rows for row in self.model)

    @invariant()
    def before_wake_at_nothing_happens(self):
        wake_at = self.queue.wake_at()
        assert (wake_at is None) == (not self.model)
        if wake_at is not None and wake_at > self.now:
            assert not self.queue.next_batch(self.now)
            assert not self.queue.expire(self.now)
            just_before = math.nextafter(wake_at, -math.inf)
            assert not self.queue.next_batch(just_before)
            assert not self.queue.expire(just_before)

    @invariant()
    def the_next_to_expire_is_known(self):
        times = [row.expires_at for row in self.model if row.expires_at < math.inf]
        assert self.queue.expires_at() == min(times, default=None)


TestLaws = Laws.TestCase
