from collections import defaultdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.batch_queue import BatchQueue
from serving.errors import QueueFull


def queue(max_batch_size=4, batch_timeout_seconds=10.0, max_queue_size=100):
    return BatchQueue(max_batch_size, batch_timeout_seconds, max_queue_size)


def put_all(waiting, items, shape_key="a", now=0.0):
    for item in items:
        waiting.put(item, shape_key, now)


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


def test_full_queue_names_its_size_and_the_setting():
    waiting = queue(max_queue_size=3)
    put_all(waiting, range(3))
    with pytest.raises(QueueFull, match=r"^3 inputs.*TRIPTYCH_MAX_QUEUE_SIZE"):
        waiting.put(3, "b", 0.0)
    waiting.remove(0)
    waiting.put(3, "b", 0.0)
    assert len(waiting) == 3


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


class Laws(RuleBasedStateMachine):
    """Against a plain list of what waits: (item, shape, since)."""

    @initialize(size=st.integers(1, 4), timeout=st.sampled_from([0.0, 0.3, 5.0]))
    def begin(self, size, timeout):
        self.size, self.timeout, self.bound = size, timeout, 12
        self.queue = BatchQueue(size, timeout, self.bound)
        self.now, self.arrivals, self.model = 0.0, 0, []

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(shape=st.sampled_from([(1,), (2,), (3,)]))
    def put(self, shape):
        item, self.arrivals = self.arrivals, self.arrivals + 1
        if len(self.model) == self.bound:
            with pytest.raises(QueueFull):
                self.queue.put(item, shape, self.now)
        else:
            self.queue.put(item, shape, self.now)
            self.model.append((item, shape, self.now))

    @rule(data=st.data())
    def leave(self, data):
        assume(self.arrivals)
        item = data.draw(st.integers(0, self.arrivals - 1))
        assert self.queue.remove(item) == any(item == other for other, *_ in self.model)
        self.model = [row for row in self.model if row[0] != item]

    @rule(flush=st.booleans())
    def ask(self, flush):
        batch = self.queue.next_batch(self.now, flush)
        by_shape = defaultdict(list)
        for row in self.model:
            by_shape[row[1]].append(row)
        due = [
            rows
            for rows in by_shape.values()
            if flush or len(rows) >= self.size or self.now >= rows[0][2] + self.timeout
        ]
        if not due:
            assert not batch
            return
        assert 1 <= len(batch) <= self.size
        oldest = min(rows[0][2] for rows in due)
        assert batch in [
            [row[0] for row in rows[: self.size]] for rows in due if rows[0][2] == oldest
        ]
        self.model = [row for row in self.model if row[0] not in batch]

    @rule()
    def nobody_waits_beyond_the_timeout_once_asked(self):
        while self.queue.next_batch(self.now):
            pass
        waits = [row for row in self.model if self.queue.remove(row[0])]
        assert all(self.now < since + self.timeout for _, _, since in waits)
        self.model = waits
        self.queue = BatchQueue(self.size, self.timeout, self.bound)
        for row in waits:
            self.queue.put(*row)

    @invariant()
    def as_many_wait(self):
        assert len(self.queue) == len(self.model)

    @invariant()
    def asked_at_wake_at_there_is_a_batch_and_not_before(self):
        wake_at = self.queue.wake_at()
        assert (wake_at is None) == (not self.model)
        if wake_at is not None and wake_at > self.now:
            assert not self.queue.next_batch(self.now)


TestLaws = Laws.TestCase
