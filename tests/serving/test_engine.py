"""Ranking, and how many inputs are taken. What goes through a whole server is in test_server.py."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from protos.triptych.v1 import manifest_pb2
from serving.batcher import Batcher
from serving.engine import Engine, rank
from serving.errors import InternalError, InvalidInput, ModelNotFound, QueueFull
from serving.manager import Manager
from serving.observability import Metrics
from serving.repository import VersionFolder
from serving.runtime.executors import Scores
from serving.settings import Settings

SCORES = arrays.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(0, 1, width=32),
)


@given(SCORES, st.integers(1, 50), st.floats(0, 1, width=32))
def test_the_best_come_first_and_of_equals_the_lower_class_id(scores, top_k, min_score) -> None:
    labels = [f"label {i}" for i in range(len(scores))]
    wanted = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:top_k]
    wanted = [i for i in wanted if scores[i] >= min_score]
    found = rank(scores, labels, top_k, min_score)
    assert [label.class_id for label in found] == wanted
    assert [label.label for label in found] == [labels[i] for i in wanted]
    assert [label.score for label in found] == [float(scores[i]) for i in wanted]


def test_scores_that_are_no_numbers_are_not_ranked() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        rank(np.array([0.5, np.nan], np.float32), ["a", "b"], 5, 0.0)


class FakeServable:
    """An input is its own example: a number that is also its class."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.executor_name = "fake"
        self.manifest = manifest_pb2.Manifest(labels=["zero", "one", "two"])
        self.may_decode = threading.Event()
        self.may_decode.set()

    def decode(self, item: bytes | str) -> str:
        self.may_decode.wait(10)
        if item == "bug":
            raise ZeroDivisionError("what no caller may read")
        if item not in ("0", "1", "2"):
            raise InvalidInput(f"{item} is no class")
        return str(item)

    def preprocess(self, decoded: str) -> np.ndarray:
        return np.array(int(decoded))

    def predict(self, examples: np.ndarray) -> Scores:
        scores = np.eye(3, dtype=np.float32)[examples]
        return Scores(scores, scores)

    def close(self) -> None: ...


class FakeLoaded:
    def __init__(self, name: str) -> None:
        self.servable = FakeServable(name)
        self.batcher = Batcher(self.servable.predict)

    async def close(self) -> None:
        await self.batcher.close()


class House:
    """An engine over fakes of what is loaded."""

    def __init__(self, **settings: object) -> None:
        self.loaded: dict[str, FakeLoaded] = {}
        self.manager = Manager(self._load)
        self.workers = ThreadPoolExecutor(2)
        self.engine = Engine(
            self.manager, Metrics(), Settings(preprocess_threads=2, **settings), self.workers
        )

    async def serve(self, *names: str) -> None:
        folders = {name: {1: VersionFolder(name, 1, Path(name), "", None)} for name in names}
        await self.manager.reconcile(folders)

    async def classify(self, *inputs: str | InvalidInput, model: str = "digits"):
        return await self.engine.classify(model, None, inputs, top_k=1, min_score=0.0)

    async def _load(self, folder: VersionFolder) -> FakeLoaded:
        self.loaded[folder.name] = FakeLoaded(folder.name)
        return self.loaded[folder.name]


@pytest.fixture
async def house():
    house = House(max_queue_size=4)
    await house.serve("digits")
    yield house
    house.loaded["digits"].servable.may_decode.set()
    house.workers.shutdown()
    await house.manager.close()


async def test_each_input_has_its_own_result_in_order(house) -> None:
    unreadable = InvalidInput("the input is empty")
    answer = await house.classify("2", "seven", "0", unreadable, "bug", "1")
    labels = [r if isinstance(r, Exception) else r[0].label for r in answer.results]
    assert labels[::2] == ["two", "zero", answer.results[4]]
    assert str(labels[1]) == "seven is no class"
    assert labels[3] is unreadable
    assert labels[5] == "one"
    assert (answer.model, answer.version) == ("digits", 1)


async def test_a_mistake_of_ours_is_a_number_to_the_caller(house) -> None:
    answer = await house.classify("bug")
    (error,) = answer.results
    assert isinstance(error, InternalError)
    assert "ZeroDivision" not in str(error)
    assert "no caller may read" not in str(error)


async def test_timing_is_that_of_the_slowest_input(house) -> None:
    timing = (await house.classify("0", "1", "2")).timing
    parts = timing.preprocess_us + timing.queue_us + timing.predict_us
    assert timing.predict_us > 0
    assert parts <= timing.total_us + 3  # each is rounded


async def test_a_model_need_not_be_named_where_there_is_one(house) -> None:
    assert house.engine.model_name("") == "digits"
    await house.serve("digits", "letters")
    with pytest.raises(ModelNotFound, match="digits, letters"):
        house.engine.model_name("")
    assert house.engine.model_name("letters") == "letters"


async def test_a_request_is_taken_whole_or_not_at_all(house) -> None:
    servable = house.loaded["digits"].servable
    servable.may_decode.clear()
    async with asyncio.TaskGroup() as group:
        large = group.create_task(house.classify("0", "1", "2"))
        await asyncio.sleep(0)  # so that it has been taken
        with pytest.raises(QueueFull, match="TRIPTYCH_MAX_QUEUE_SIZE"):
            await house.classify("0", "1")
        small = group.create_task(house.classify("0"))
        await asyncio.sleep(0)
        servable.may_decode.set()
    assert not any(isinstance(r, Exception) for r in large.result().results)
    assert not any(isinstance(r, Exception) for r in small.result().results)
    await house.classify("0", "1")


async def test_a_request_alone_may_be_larger_than_the_queue(house) -> None:
    answer = await house.classify(*"012" * 5)
    assert len(answer.results) == 15


async def test_other_models_do_not_count(house) -> None:
    await house.serve("digits", "letters")
    house.loaded["digits"].servable.may_decode.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(house.classify(*"012012", model="digits"))
        await asyncio.sleep(0)
        house.loaded["digits"].servable.may_decode.set()
        await house.classify("0", model="letters")


async def test_a_caller_that_leaves_leaves_nothing_behind(house) -> None:
    servable = house.loaded["digits"].servable
    servable.may_decode.clear()
    leaving = asyncio.create_task(house.classify("0", "1", "2", "0"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    servable.may_decode.set()
    async with asyncio.timeout(5):
        await house.classify("0", "1", "2", "0")
        await house.manager.close()  # which waits for every handle


async def test_a_large_request_leaves_room_for_others(house) -> None:
    """It has no more inputs with the workers than there are workers, so a small one is next."""
    servable = house.loaded["digits"].servable
    order: list[str] = []
    decode = servable.decode

    def listening(item: str) -> str:
        decoded = decode(item)
        order.append(item)
        return decoded

    servable.decode = listening
    servable.may_decode.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(house.classify(*"0000000000"))
        await asyncio.sleep(0)
        await house.serve("digits", "letters")
        letters = house.loaded["letters"].servable
        letters.decode = lambda item: order.append(item) or item
        await asyncio.sleep(0)
        group.create_task(house.classify("2", model="letters"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        servable.may_decode.set()
    assert order.index("2") <= 4
