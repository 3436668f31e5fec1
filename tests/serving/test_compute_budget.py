"""One thread budget for many models: never exceeded, in order of asking, nobody forgotten."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from serving.compute_budget import ComputeBudget


class Model:
    """Takes what it may as soon as it has work, as a batcher does."""

    def __init__(self, budget, name, threads, log):
        self.budget, self.name, self.threads, self.log = budget, name, threads, log
        self.work = self.running = self.calls = 0

    def dispatch(self):
        self.calls += 1
        while self.work and self.budget.take(self.threads, self.dispatch):
            self.work -= 1
            self.running += 1
            self.log.append(self.name)

    def add(self, work=1):
        self.work += work
        self.dispatch()

    def end(self):
        self.running -= 1
        self.budget.give_back(self.threads)
        self.dispatch()


def house(capacity, **threads):
    budget, log = ComputeBudget(capacity), []
    return log, *[Model(budget, name, n, log) for name, n in threads.items()]


def test_who_is_refused_is_called_back_in_the_order_of_asking():
    log, a, b, c = house(1, a=1, b=1, c=1)
    a.add()
    b.add()
    c.add()
    a.end()
    b.end()
    assert log == ["a", "b", "c"]


def test_two_models_under_load_take_turns():
    log, a, b = house(1, a=1, b=1)
    a.add(3)
    b.add(3)
    while len(log) < 6:
        {"a": a, "b": b}[log[-1]].end()
    assert "".join(log) == "aababb"  # a had asked for its second before b came


def test_asking_twice_is_being_called_once():
    _, a, b = house(1, a=1, b=1)
    a.add()
    b.add()
    b.add()
    calls = b.calls
    a.end()
    assert b.calls == calls + 1


def test_whom_its_callers_have_left_keeps_nobody_waiting():
    """It takes nothing when it is called back: the next must be called at once."""
    log, a, b, c = house(1, a=1, b=1, c=1)
    a.add()
    b.add()
    c.add()
    b.work = 0
    a.end()
    assert log == ["a", "c"]


def test_all_threads_that_are_free_are_given_out():
    log, wide, a, b, c = house(2, wide=2, a=1, b=1, c=1)
    wide.add()
    for narrow in (a, b, c):
        narrow.add()
    wide.end()
    assert log == ["wide", "a", "b"]
    a.end()
    assert log == ["wide", "a", "b", "c"]


def test_one_thread_that_becomes_free_is_used_while_two_wait():
    log, a, b, c = house(2, a=1, b=1, c=1)
    a.add(2)
    b.add()
    c.add()
    a.end()
    assert log == ["a", "a", "b"]
    a.end()
    assert log == ["a", "a", "b", "c"]


def test_a_model_has_one_batch_a_turn():
    log, wide, a, b = house(2, wide=2, a=1, b=1)
    wide.add()
    a.add(5)
    b.add(5)
    wide.end()
    assert log == ["wide", "a", "b"]


def test_the_wide_are_not_starved_by_the_narrow():
    log, a, wide = house(2, a=1, wide=2)
    a.add(2)
    wide.add()
    a.add(9)
    a.end()
    a.end()
    assert log == ["a", "a", "wide"]


def test_who_wants_more_than_there_is_runs_alone():
    log, a, wide = house(2, a=1, wide=8)
    a.add()
    wide.add()
    assert log == ["a"]
    a.end()
    assert log == ["a", "wide"]
    a.add()
    assert log == ["a", "wide"]
    wide.end()
    assert log == ["a", "wide", "a"]


@given(
    st.integers(1, 4),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["add", "end", "lose"]))),
)
def test_never_exceeded_and_no_thread_idle_while_someone_waits(capacity, widths, moves):
    budget, log = ComputeBudget(capacity), []
    models = [Model(budget, i, width, log) for i, width in enumerate(widths)]
    for which, move in moves:
        model = models[which % len(models)]
        if move == "add":
            model.add()
        elif move == "lose":
            model.work = 0  # its callers have left; nobody tells the budget
        elif model.running:
            model.end()
        used = sum(m.running * m.threads for m in models)
        alone = sum(m.running for m in models) <= 1
        assert used <= capacity or alone
        assert used or not any(m.work for m in models)
    running = deque(m for m in models for _ in range(m.running))
    while running or any(m.work for m in models):  # each that waits has its turn in the end
        before = len(log)
        running.popleft().end()
        running.extend(models[name] for name in log[before:])
