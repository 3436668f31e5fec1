"""Threads that share a processor, and those that do not. In threads that end with their test."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.batch_scheduler import Batching
from serving.batcher import Batcher
from serving.preprocessor import WORTH_A_THREAD_SECONDS, Preprocessor
from serving.runtime import affinity
from serving.runtime.affinity import WAITING, gather, join, may_gather, spread
from tests.serving.batcher_fakes import Immediate, Queueing, example
from tests.serving.engine_fakes import House

ALL = sorted(os.sched_getaffinity(0))

two = pytest.mark.skipif(len(ALL) < 2, reason="there is one processor")


@pytest.fixture(autouse=True)
def of_two(monkeypatch):
    monkeypatch.setattr(affinity, "PROCESSORS", set(ALL[:2]))
    monkeypatch.setattr(affinity, "_together", None)


def in_thread(work, name=None):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), name=name)
    thread.start()
    thread.join()
    return found[0]


def here() -> set[int]:
    return os.sched_getaffinity(0)


@two
def test_who_is_gathered_and_what_it_starts_have_one_of_two() -> None:
    def work() -> list[set[int]]:
        gather(2)
        return [here(), in_thread(here)]

    assert in_thread(work) == [{ALL[0]}] * 2
    assert here() == set(ALL)  # this thread has nothing to do with it


@two
def test_who_spreads_has_all_and_who_joins_has_one_again() -> None:
    def work() -> list[set[int]]:
        gather(2)
        found = []
        for move in (spread, join, spread):
            move()
            found.append(here())
        return found

    assert in_thread(work) == [set(ALL[:2]), {ALL[0]}, set(ALL[:2])]


@two
def test_of_those_that_are_there_only_those_that_wait_are_moved() -> None:
    ready, ended, found = threading.Barrier(4), threading.Event(), {}

    def wait() -> None:
        ready.wait()
        ended.wait()
        found[threading.current_thread().name] = here()

    names = (f"{WAITING}_0", "load_0", "Thread-1 (_poll_wrapper)")
    threads = [threading.Thread(target=wait, name=name) for name in names]
    for thread in threads:
        thread.start()
    ready.wait()
    in_thread(lambda: gather(2))
    ended.set()
    for thread in threads:
        thread.join()
    assert found == {names[0]: {ALL[0]}, names[1]: set(ALL), names[2]: {ALL[0]}}


@pytest.mark.parametrize(
    ("processors", "threads", "may"),
    [({0, 1}, 2, True), ({0, 1}, 1, False), ({0}, 1, False), ({0, 1, 2}, 3, False)],
)
def test_on_two_processors_that_are_all_its_own(monkeypatch, processors, threads, may) -> None:
    monkeypatch.setattr(affinity, "PROCESSORS", processors)
    assert may_gather(threads) == may
    if not may:
        before = here()
        assert in_thread(lambda: (gather(threads), join(), here())[-1]) == before


@two
@pytest.mark.parametrize("kind", [Queueing, Immediate])
async def test_a_batchers_threads_have_all_but_where_they_only_wait(monkeypatch, kind) -> None:
    monkeypatch.setattr(affinity, "_together", {ALL[0]})
    seen = set()

    class Noting(kind):
        def run(self, *parts, **how):
            seen.add((how["alone"], tuple(sorted(here()))))
            return super().run(*parts, **how)

    executor = Noting(**({"permits": 3} if kind is Queueing else {}))
    batcher = Batcher(executor, Batching(max_batch_size=1))
    await batcher.predict(example(0))
    await asyncio.gather(*[batcher.predict(example(n)) for n in (1, 2)])
    await batcher.close()
    mine = (ALL[0],) if kind is Queueing else tuple(ALL[:2])
    assert seen == {(True, mine), (False, mine)}


class Reading:
    """Notes where its inputs are read: 0 in no time, others as if they took long."""

    def __init__(self):
        self.seen = []

    def decode(self, item):
        self.seen.append(here())
        until = time.thread_time() + item * 2 * WORTH_A_THREAD_SECONDS
        while time.thread_time() < until:
            pass
        return item

    def preprocess(self, decoded):
        return np.array(decoded)


@two
async def test_who_reads_has_one_where_inputs_are_little_and_all_where_they_are_not(
    monkeypatch,
) -> None:
    monkeypatch.setattr(affinity, "_together", {ALL[0]})
    servable = Reading()
    with ThreadPoolExecutor(1) as workers:
        preprocessor = Preprocessor(workers, 1)
        for item in (0, 0, 1, 1, 0, 0):  # each tells of the next one
            await preprocessor.example(servable, item)
    both, one = set(ALL[:2]), {ALL[0]}
    assert servable.seen == [both, one, one, both, both, one]


@two
async def test_an_endpoint_that_shares_no_batches_has_all(monkeypatch) -> None:
    monkeypatch.setattr(affinity, "_together", {ALL[0]})
    house = House()
    await house.serve("digits")
    servable = house.loaded["digits"].servable
    seen = []
    run = servable.run
    monkeypatch.setattr(servable, "run", lambda *given: (seen.append(here()), run(*given))[1])
    await house.classify("0", "0")  # in a thread that then joins those that were gathered
    await house.infer("double", x=np.zeros((1, 2), np.float32))
    await house.close()
    assert seen == [set(ALL[:2])]
