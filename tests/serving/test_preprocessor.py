"""Inputs that become examples in threads: which share one, and who is left out."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.errors import InvalidInput
from serving.preprocessor import MOST_AT_ONCE, WORTH_A_THREAD_SECONDS, Preprocessor


class Servable:
    """Its inputs are numbers, which it decodes once it may. -1 cannot be read."""

    def __init__(self):
        self.may_decode = threading.Event()
        self.began = threading.Semaphore(0)
        self.decoded = []
        self.working, self.most_working = 0, 0
        self.counting = threading.Lock()

    def decode(self, item):
        self.began.release()
        self.count(1)
        assert self.may_decode.wait(10)
        self.decoded.append(item)
        self.count(-1)
        if item == -1:
            raise InvalidInput("-1 is no input")
        return item

    def count(self, change):
        with self.counting:
            self.working += change
            self.most_working = max(self.most_working, self.working)

    def preprocess(self, decoded):
        return np.array(decoded)


@pytest.fixture
def servable():
    return Servable()


@pytest.fixture
def workers():
    with ThreadPoolExecutor(4) as workers:
        yield workers


async def ask(preprocessor, servable, items, company=1):
    tasks = [asyncio.create_task(preprocessor.example(servable, item, company)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_each_caller_gets_its_own(servable, workers):
    servable.may_decode.set()
    preprocessor = Preprocessor(workers, 2)
    tasks = await ask(preprocessor, servable, [*range(50), -1, *range(50, 100)])
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(50), InvalidInput)
    assert [answer.tolist() for answer in answers] == [[number] for number in range(100)]


@pytest.mark.parametrize("threads", [1, 2])
async def test_no_more_threads_than_it_may_have(servable, workers, threads):
    preprocessor = Preprocessor(workers, threads)
    tasks = await ask(preprocessor, servable, range(40))
    servable.may_decode.set()
    await asyncio.gather(*tasks)
    assert servable.most_working <= threads


class Slow(Servable):
    """Its inputs are seconds of a processor."""

    def preprocess(self, decoded):
        ends = time.thread_time() + decoded
        while time.thread_time() < ends:
            pass
        return np.array(decoded)


@pytest.mark.parametrize(("seconds", "threads"), [(WORTH_A_THREAD_SECONDS * 2, 2), (0.0, 1)])
async def test_short_work_is_left_to_one_thread(workers, seconds, threads):
    """Two only contend for the interpreter."""
    slow, preprocessor = Slow(), Preprocessor(workers, 2)
    slow.may_decode.set()
    await asyncio.gather(*await ask(preprocessor, slow, [seconds]))
    slow.may_decode.clear()
    tasks = await ask(preprocessor, slow, [seconds] * 6)
    for _ in range(1 + threads):  # the one before is among them
        assert await asyncio.to_thread(slow.began.acquire, timeout=10)
    assert not slow.began.acquire(blocking=False)
    slow.may_decode.set()
    await asyncio.gather(*tasks)


@pytest.fixture
def turns(workers, monkeypatch):
    """Of each, how many inputs had it."""
    turns = []
    submit = workers.submit
    monkeypatch.setattr(
        workers,
        "submit",
        lambda work, loop, some: (turns.append(len(some)), submit(work, loop, some)),
    )
    return turns


async def known_as_small(preprocessor, servable, turns):
    servable.may_decode.set()
    await asyncio.gather(*await ask(preprocessor, servable, [0]))
    turns.clear()


async def test_small_ones_wait_for_company(servable, workers, turns, monkeypatch):
    monkeypatch.setattr("serving.preprocessor.GATHER_SECONDS", 3600)
    preprocessor = Preprocessor(workers, 2)
    await known_as_small(preprocessor, servable, turns)
    some = await ask(preprocessor, servable, [1, 2], company=3)
    assert turns == []
    answers = await asyncio.gather(*some, *await ask(preprocessor, servable, [3], company=3))
    assert [answer.tolist() for answer in answers] == [[1], [2], [3]]
    assert turns == [3]


async def test_who_comes_while_others_decode_waits_for_company_too(
    servable, workers, turns, monkeypatch
):
    monkeypatch.setattr("serving.preprocessor.GATHER_SECONDS", 3600)
    preprocessor = Preprocessor(workers, 2)
    await known_as_small(preprocessor, servable, turns)
    servable.may_decode.clear()
    first = await ask(preprocessor, servable, [1])
    waiting = await ask(preprocessor, servable, [2], company=2)
    servable.may_decode.set()
    await asyncio.gather(*first)
    assert turns == [1]
    await asyncio.gather(*waiting, *await ask(preprocessor, servable, [3], company=2))
    assert turns == [1, 2]


async def test_company_that_never_comes_is_waited_for_a_moment(servable, workers, turns):
    preprocessor = Preprocessor(workers, 2)
    await known_as_small(preprocessor, servable, turns)
    async with asyncio.timeout(10):
        await asyncio.gather(*await ask(preprocessor, servable, [1], company=MOST_AT_ONCE))
        await asyncio.gather(*await ask(preprocessor, servable, [2], company=MOST_AT_ONCE))
    assert turns == [1, 1]


async def test_no_more_company_is_wanted_than_has_a_turn(servable, workers, turns, monkeypatch):
    monkeypatch.setattr("serving.preprocessor.GATHER_SECONDS", 3600)
    preprocessor = Preprocessor(workers, 2)
    await known_as_small(preprocessor, servable, turns)
    async with asyncio.timeout(10):
        await asyncio.gather(*await ask(preprocessor, servable, range(MOST_AT_ONCE), company=99))
    assert turns == [MOST_AT_ONCE]


async def test_who_is_in_a_hurry_takes_along_those_that_wait(servable, workers, turns, monkeypatch):
    monkeypatch.setattr("serving.preprocessor.GATHER_SECONDS", 3600)
    preprocessor = Preprocessor(workers, 2)
    await known_as_small(preprocessor, servable, turns)
    waiting = await ask(preprocessor, servable, [1], company=8)
    await asyncio.gather(*waiting, *await ask(preprocessor, servable, [2]))
    assert turns == [2]


@pytest.mark.parametrize("seconds", [None, WORTH_A_THREAD_SECONDS * 2])
async def test_what_takes_long_or_is_not_known_waits_for_nobody(
    workers, turns, monkeypatch, seconds
):
    monkeypatch.setattr("serving.preprocessor.GATHER_SECONDS", 3600)
    slow, preprocessor = Slow(), Preprocessor(workers, 2)
    slow.may_decode.set()
    if seconds is not None:
        await asyncio.gather(*await ask(preprocessor, slow, [seconds]))
    async with asyncio.timeout(10):
        await asyncio.gather(*await ask(preprocessor, slow, [0.0], company=8))


async def test_what_came_meanwhile_shares_a_turn(servable, workers, turns):
    preprocessor = Preprocessor(workers, 1)
    tasks = await ask(preprocessor, servable, range(MOST_AT_ONCE + 3))
    servable.may_decode.set()
    await asyncio.gather(*tasks)
    assert turns == [1, MOST_AT_ONCE, 2]
    assert servable.decoded == list(range(MOST_AT_ONCE + 3))


async def test_who_leaves_is_not_decoded_for_and_takes_nobody_along(servable, workers):
    preprocessor = Preprocessor(workers, 1)
    for place in range(1, 6):
        servable.may_decode.clear()
        servable.decoded.clear()
        tasks = await ask(preprocessor, servable, range(6))
        tasks.pop(place).cancel()
        await asyncio.sleep(0)
        servable.may_decode.set()
        answers = await asyncio.gather(*tasks)
        stay = [number for number in range(6) if number != place]
        assert [answer.tolist() for answer in answers] == [[number] for number in stay]
        assert servable.decoded == stay


async def test_without_a_thread_callers_are_told(servable):
    workers = ThreadPoolExecutor(1)
    workers.shutdown()
    tasks = await ask(Preprocessor(workers, 1), servable, range(3 * MOST_AT_ONCE))
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {RuntimeError}
