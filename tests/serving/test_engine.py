"""`classify`: ranking, and how many inputs are taken. Tensors are in test_engine_infer.py, and
what goes through a whole server in test_server_classify.py.
"""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.batch_scheduler import Batching
from serving.errors import InternalError, InvalidInput, ModelNotFound, QueueFull
from serving.runtime.ranking import rank, rank_each
from tests.serving.engine_fakes import House
from tests.serving.manager_fakes import until

SCORES = arrays.arrays(
    np.float32,
    st.integers(1, 40) | st.integers(125, 135),
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


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 9)),
        elements=st.sampled_from([0.0, 0.5, 1.0]),
    ),
    st.integers(1, 10),
)
def test_many_are_ranked_as_each_by_itself(scores, top_k) -> None:
    labels = [f"label {i}" for i in range(scores.shape[1])]
    alone = [rank(row, labels, top_k, 0.1) for row in scores]
    assert rank_each(scores, labels, top_k, 0.1) == alone


def test_scores_that_are_no_numbers_are_not_ranked() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        rank(np.array([0.5, np.nan], np.float32), ["a", "b"], 5, 0.0)


@pytest.fixture
async def house():
    house = House(max_queue_size=4)
    await house.serve("digits")
    yield house
    await house.close()


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


async def test_the_account_is_that_of_the_slowest_input(house) -> None:
    answer = await house.classify("0", "1", "2")
    account = answer.account
    assert (account.version, account.executor) == (1, "fake")
    assert 1 <= account.batch_size <= 3
    assert account.compute_us > 0
    parts = account.decode_us + account.queue_us + account.compute_us
    assert parts <= answer.total_us + 3  # each is rounded


async def test_where_nothing_was_computed_the_account_is_empty(house) -> None:
    account = (await house.classify("seven")).account
    assert (account.queue_us, account.compute_us, account.batch_size) == (0, 0, 0)
    assert (account.version, account.executor) == (1, "fake")


async def test_a_model_without_labels_says_what_to_send_instead() -> None:
    house = House(labels=())
    await house.serve("digits")
    with pytest.raises(InvalidInput, match=r"no labels.*send it tensors"):
        await house.classify("0")
    await house.close()


async def test_a_model_need_not_be_named_where_there_is_one(house) -> None:
    assert house.engine.model_name("") == "digits"
    assert (await house.classify("0", model="")).model == "digits"
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


async def test_a_request_alone_may_be_larger_than_the_queue() -> None:
    house = House(Batching(max_batch_size=1, max_queue_size=4))
    await house.serve("digits")
    executor = house.executors["digits"]
    executor.may_compute.clear()
    asked = asyncio.create_task(house.classify(*"012" * 5))
    await executor.began.wait()
    async with asyncio.timeout(10):
        batcher = house.loaded["digits"].batcher
        # One runs, three wait: one more would be too many.
        for _ in iter(lambda: len(batcher) < 3, False):
            await asyncio.sleep(0)
    executor.may_compute.set()
    assert [r[0].class_id for r in (await asked).results] == [0, 1, 2] * 5
    await house.close()


async def test_the_model_s_own_queue_counts() -> None:
    """`max_queue_size` of its model.toml, be it less than the server's setting or more."""
    for own, server, refused in ((2, 9, True), (9, 2, False)):
        house = House(Batching(max_queue_size=own), max_queue_size=server)
        await house.serve("digits")
        house.loaded["digits"].servable.may_decode.clear()
        first = asyncio.create_task(house.classify("0"))
        await asyncio.sleep(0)
        second = asyncio.create_task(house.classify("1", "2"))
        await asyncio.sleep(0)
        house.loaded["digits"].servable.may_decode.set()
        await asyncio.wait([first, second])
        assert first.exception() is None
        assert isinstance(second.exception(), QueueFull) == refused
        if refused:
            assert "over 2: send them later, or raise max_queue_size" in str(second.exception())
            assert "digits/model.toml" in str(second.exception())
        await house.close()


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


async def test_while_all_lanes_compute_small_inputs_are_decoded_together(
    house, monkeypatch
) -> None:
    """As many as the next batch has of those in progress."""
    turns: list[int] = []
    decoded: list[object] = []
    batcher = house.loaded["digits"].batcher
    submit, predict = house.workers.submit, batcher.predict
    monkeypatch.setattr(
        house.workers,
        "submit",
        lambda work, loop, some: (turns.append(len(some)), submit(work, loop, some)),
    )
    monkeypatch.setattr(
        batcher,
        "predict",
        lambda inputs, **how: (decoded.append(inputs), predict(inputs, **how))[1],
    )
    monkeypatch.setattr("serving.preprocessor.GATHER_SECONDS", 3600)
    executor = house.executors["digits"]
    await house.classify("0")
    executor.may_compute.clear()
    executor.began.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(house.classify("0"))
        await executor.began.wait()
        assert turns == [1, 1]
        group.create_task(house.classify("1"))  # of two in progress the share is one
        await until(lambda: len(decoded) == 3)
        assert turns == [1, 1, 1]
        group.create_task(house.classify("2"))  # of three it is two
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert turns == [1, 1, 1]
        group.create_task(house.classify("0"))
        executor.may_compute.set()
    assert turns == [1, 1, 1, 2]
