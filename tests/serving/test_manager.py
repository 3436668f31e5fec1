"""How versions come and go: load, swap, drain, unload. The loader is a fake driven by hand.

What fails is in test_manager_failures.py, what overlaps and how it ends in
test_manager_concurrency.py, and what callers get in test_manager_acquire.py.
"""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion, ModelUnavailable, TriptychError
from serving.manager import Manager
from serving.version_policy import State
from tests.serving.manager_fakes import (
    Announcements,
    Loader,
    disk,
    on_disk,
    run_what_can_run,
    start,
    states,
)


async def test_a_version_is_loaded_and_answers(manager, loader, announced):
    task = asyncio.create_task(manager.reconcile(disk(1)))
    loader.hold("cats", 1)
    await run_what_can_run()
    assert states(manager) == {1: State.LOADING}
    assert announced == [("cats", False)]

    loader.finish("cats", 1)
    await task

    with manager.acquire("cats") as handle:
        assert (handle.name, handle.version) == ("cats", 1)
        assert handle.loaded is loader.loaded[0]
    assert announced == [("cats", False), ("cats", True)]
    status = manager.models()["cats"][1]
    assert (status.version, status.state, status.reason) == (1, State.READY, "")
    assert (status.executor_name, status.precision) == ("fake", "f32")
    assert status.manifest == manifest_pb2.Manifest(name="cats", schema_version=1)


async def test_only_the_newest_is_loaded(manager, loader):
    await manager.reconcile(disk(1, 10, 9, dogs=[3, 2]))
    assert sorted(loader.calls) == [("cats", 10), ("dogs", 3)]
    assert list(manager.models()) == ["cats", "dogs"]
    assert list(manager.status("cats")) == [10, 9, 1]


async def test_nothing_is_done_twice(manager, loader):
    for _ in range(3):
        await manager.reconcile(disk(1, 2))
    assert loader.calls == [("cats", 2)]


async def test_swap_under_traffic(manager, loader, announced):
    await manager.reconcile(disk(1))
    before = manager.acquire("cats")
    loader.hold("cats", 2)
    task = await start(manager.reconcile(disk(1, 2)))

    # While the new one loads, the old one answers.
    assert states(manager) == {2: State.LOADING, 1: State.READY}
    during = manager.acquire("cats")
    assert during.version == 1

    # Once it is ready it gets the new calls; the old one stays for those that it has.
    loader.finish("cats", 2)
    await run_what_can_run()
    assert states(manager) == {2: State.READY, 1: State.QUIESCING}
    assert manager.acquire("cats").version == 2
    with pytest.raises(ModelUnavailable, match="version 1 is QUIESCING; version 2 is ready"):
        manager.acquire("cats", 1)
    assert manager.status("cats")[1].manifest is not None

    before.release()
    await run_what_can_run()
    assert before.loaded.closed == 0
    assert not task.done()

    during.release()
    await task
    assert before.loaded.closed == 1
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    gone = manager.status("cats")[1]
    assert (gone.executor_name, gone.precision, gone.manifest, gone.report) == ("", "", None, None)
    assert announced == [("cats", False), ("cats", True)]  # not for a moment without a version


async def test_handle_is_released_once_and_by_an_error_too(manager, loader):
    await manager.reconcile(disk(1))
    first, second = manager.acquire("cats"), manager.acquire("cats")
    with pytest.raises(ZeroDivisionError), first:
        raise ZeroDivisionError
    first.release()
    task = await start(manager.reconcile({}))
    assert not task.done()
    second.release()
    await task
    assert loader.loaded[0].closed == 1


async def test_explicit_version_is_pinned_until_it_quiesces(manager):
    await manager.reconcile(disk(1))
    with manager.acquire("cats", version=1) as handle:
        assert handle.version == 1


async def test_deleted_version_serves_until_another_one_can(manager, loader, announced):
    await manager.reconcile(disk(1, 2))
    loader.errors["cats", 1] = BadVersion("corrupt")
    await manager.reconcile(disk(1))
    assert states(manager) == {2: State.READY, 1: State.FAILED}
    assert manager.status("cats")[2].reason.startswith("deleted from disk")

    del loader.errors["cats", 1]
    await manager.reconcile(disk(on_disk(1, "repaired")))
    assert states(manager) == {1: State.READY}
    assert loader.loaded[0].closed == 1
    assert announced == [("cats", False), ("cats", True)]


async def test_deleted_model_is_unloaded_and_forgotten(manager, loader, announced):
    await manager.reconcile(disk(1, dogs=[1]))
    handle = manager.acquire("cats")
    task = await start(manager.reconcile(disk(name="cats", dogs=[1])))
    assert announced[-1] == ("cats", False)
    assert handle.loaded.closed == 0

    handle.release()
    await task
    assert handle.loaded.closed == 1
    assert list(manager.models()) == ["dogs"]

    await manager.reconcile(disk(1, dogs=[1]))
    assert manager.acquire("cats").version == 1
    assert announced[-2:] == [("cats", False), ("cats", True)]


# What is unloaded on request


async def test_a_model_that_is_not_wanted_is_unloaded_and_stays_known(manager, loader, announced):
    await manager.reconcile(disk(1, 2, config={"version_policy": "all"}))
    handle = manager.acquire("cats", 1)
    task = await start(manager.reconcile(disk(1, 2, wanted=False)))
    assert states(manager) == {2: State.READY, 1: State.QUIESCING}

    handle.release()
    await task
    assert states(manager) == {2: State.DISABLED, 1: State.DISABLED}
    assert [one.closed for one in loader.loaded] == [1, 1]
    assert announced[-1] == ("cats", False)
    with pytest.raises(ModelUnavailable, match=r"2 DISABLED \(unloaded on request"):
        manager.acquire("cats")

    await manager.reconcile(disk(1, 2))
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    assert manager.status("cats")[1].reason == ""


async def test_what_is_not_wanted_is_not_loaded(manager, loader):
    await manager.reconcile(disk(1, wanted=False))
    assert loader.calls == []
    assert manager.status("cats")[1].reason.startswith("unloaded on request")


# Which versions


@pytest.mark.parametrize(
    ("policy", "loaded"),
    [
        ({"latest": 2}, [3, 4]),
        ("all", [1, 2, 3, 4]),
        ({"specific": [2, 4]}, [2, 4]),
        ({"specific": [2, 9]}, [2]),
    ],
)
async def test_the_policy_says_which_versions(manager, loader, policy, loaded):
    await manager.reconcile(disk(1, 2, 3, 4, config={"version_policy": policy}))
    assert sorted(number for _, number in loader.calls) == loaded
    for number in loaded:
        assert manager.acquire("cats", number).version == number
    assert manager.acquire("cats").version == loaded[-1]


async def test_another_policy_counts_at_once_and_the_last_one_stays(manager, loader):
    await manager.reconcile(disk(1, 2))
    await manager.reconcile(disk(1, 2, config={"version_policy": {"specific": [7]}}))
    assert states(manager) == {2: State.READY, 1: State.NEW}
    await manager.reconcile(disk(1, 2, config={"version_policy": {"specific": [1]}}))
    assert states(manager) == {2: State.DISABLED, 1: State.READY}


steps = st.lists(
    st.tuples(
        st.sets(st.integers(1, 4)),  # versions on disk
        st.sets(st.integers(1, 4)),  # those of them that fail to load
        st.booleans(),  # whether a call is under way meanwhile
        st.sampled_from(["latest", {"latest": 2}, "all", {"specific": [1, 3]}]),
        st.sampled_from([True, True, True, False]),  # whether it is wanted, or was unloaded
    ),
    min_size=1,
    max_size=6,
)


@given(steps=steps)
def test_laws(steps):
    """A model that answers goes on answering, and what is loaded is closed once, and not in use."""

    async def scenario():
        loader, announced = Loader(), Announcements()
        manager = Manager(loader, on_change=announced)
        answered = False
        for numbers, failing, busy, policy, wanted in steps:
            loader.errors = {("cats", number): BadVersion("bad") for number in failing}
            handle = manager.acquire("cats") if busy and answered else None
            snapshot = disk(*numbers, config={"version_policy": policy}, wanted=wanted)
            task = await start(manager.reconcile(snapshot))
            if handle is not None:
                assert handle.loaded.closed == 0
                handle.release()
            await task
            try:
                with manager.acquire("cats") as now:
                    assert now.loaded.closed == 0
                answers = True
            except TriptychError:
                answers = False
            loaded = [one.folder.version for one in loader.loaded if not one.closed]
            asked = (
                {1, 3} & numbers if isinstance(policy, dict) and "specific" in policy else numbers
            )
            assert answers == bool(loaded) == (announced or [("cats", False)])[-1][1]
            if not wanted:
                assert not answers
            else:
                assert answers or not (answered and numbers)
                assert answers or asked <= failing | {n for _, n in loader.calls}
            if policy == "latest":
                assert len(loaded) == answers
            answered = answers
        await manager.close()
        assert all(loaded.closed == 1 for loaded in loader.loaded)

    asyncio.run(scenario())
