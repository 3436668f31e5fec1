"""Calls that overlap, are cancelled, or come while the manager is closed."""

import asyncio

import pytest

from serving.errors import ModelUnavailable
from serving.manager import Manager
from serving.version_policy import State
from tests.serving.manager_fakes import (
    disk,
    run_what_can_run,
    start,
    states,
)


async def test_overlapping_calls_load_once(manager, loader):
    loader.hold("cats", 1)
    tasks = [await start(manager.reconcile(disk(1))) for _ in range(3)]
    loader.finish("cats", 1)
    await asyncio.gather(*tasks)
    assert loader.calls == [("cats", 1)]


async def test_newest_snapshot_counts(manager, loader):
    await manager.reconcile(disk(1))
    loader.hold("cats", 2)
    first = await start(manager.reconcile(disk(1, 2)))
    second = await start(manager.reconcile(disk(1, 3)))  # 2 is deleted while it is loaded
    loader.finish("cats", 2)
    await asyncio.gather(first, second)
    assert states(manager) == {3: State.READY, 1: State.DISABLED}
    assert {loaded.folder.version: loaded.closed for loaded in loader.loaded} == {1: 1, 2: 1, 3: 0}


async def test_slow_model_does_not_hold_up_another(loader):
    manager = Manager(loader, max_concurrent_loads=2)
    loader.hold("cats", 1)
    task = await start(manager.reconcile(disk(1, dogs=[1])))
    assert manager.acquire("dogs").version == 1
    assert not task.done()
    task.cancel()


async def test_one_load_at_a_time_by_default(manager, loader):
    for name in ("birds", "cats", "dogs"):
        loader.hold(name, 1)
    task = await start(manager.reconcile(disk(1, birds=[1], dogs=[1])))
    for number in (1, 2, 3):
        assert len(loader.calls) == number
        assert states(manager, loader.calls[-1][0]) == {1: State.LOADING}
        loader.finish(*loader.calls[-1])
        await run_what_can_run()
    await task


@pytest.mark.parametrize("then", [{}, disk(2)])
async def test_load_that_waited_for_its_turn_asks_again_whether_it_is_wanted(manager, loader, then):
    loader.hold("birds", 1)
    first = await start(manager.reconcile(disk(1, birds=[1])))
    second = await start(manager.reconcile(then | disk(1, name="birds")))
    loader.finish("birds", 1)
    await asyncio.gather(first, second)
    assert ("cats", 1) not in loader.calls
    assert list(manager.models()) == sorted({"birds", *then})


async def test_cancelled_load_is_taken_up_again(manager, loader, announced):
    await manager.reconcile(disk(1))
    loader.hold("cats", 2)
    task = await start(manager.reconcile(disk(1, 2)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert states(manager) == {2: State.NEW, 1: State.READY}
    assert manager.acquire("cats", 1).version == 1

    manager.acquire("cats").release()
    loader.finish("cats", 2)
    await start(manager.reconcile(disk(1, 2)))
    assert loader.calls == [("cats", 1), ("cats", 2), ("cats", 2)]
    assert manager.acquire("cats").version == 2


async def test_cancelled_call_leaves_the_work_to_the_one_that_waits(manager, loader):
    loader.hold("cats", 1)
    first = await start(manager.reconcile(disk(1)))
    second = await start(manager.reconcile(disk(1)))
    first.cancel()
    await run_what_can_run()
    loader.finish("cats", 1)
    await second
    assert states(manager) == {1: State.READY}
    assert len(loader.loaded) == 1


async def test_cancelled_drain_is_taken_up_again(manager, loader):
    await manager.reconcile(disk(1))
    handle = manager.acquire("cats")
    task = await start(manager.reconcile(disk(1, 2)))
    task.cancel()
    await run_what_can_run()
    assert states(manager) == {2: State.READY, 1: State.QUIESCING}
    assert handle.loaded.closed == 0

    handle.release()
    await manager.reconcile(disk(1, 2))
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    assert handle.loaded.closed == 1


async def test_close_waits_for_handles_and_refuses_new_ones(manager, loader, announced):
    await manager.reconcile(disk(1, dogs=[1]))
    handle = manager.acquire("cats")
    task = await start(manager.close())

    assert announced[-2:] == [("cats", False), ("dogs", False)]
    with pytest.raises(ModelUnavailable, match="server is ending"):
        manager.acquire("cats")
    assert handle.loaded.closed == 0
    assert not task.done()

    handle.release()
    await task
    assert [loaded.closed for loaded in loader.loaded] == [1, 1]
    await manager.close()
    await manager.reconcile(disk(2))
    assert states(manager) == {1: State.DISABLED}
    assert [loaded.closed for loaded in loader.loaded] == [1, 1]


async def test_close_during_a_load_unloads_what_comes_of_it(manager, loader, announced):
    loader.hold("cats", 1)
    loading = await start(manager.reconcile(disk(1, dogs=[1])))
    closing = await start(manager.close())
    loader.finish("cats", 1)
    await asyncio.gather(loading, closing)
    assert [loaded.closed for loaded in loader.loaded] == [1]
    assert loader.calls == [("cats", 1)]
    assert ("cats", True) not in announced


async def test_close_ends_a_drain_that_was_cancelled(manager):
    await manager.reconcile(disk(1))
    handle = manager.acquire("cats")
    task = await start(manager.reconcile(disk(1, 2)))
    task.cancel()
    handle.release()
    await manager.close()
    assert handle.loaded.closed == 1
    assert states(manager) == {2: State.DISABLED, 1: State.DISABLED}


async def test_a_slow_load_does_not_hold_up_another_models_unload(manager, loader):
    await manager.reconcile(disk(1, name="dogs"))
    loader.hold("cats", 1)
    await start(manager.reconcile(disk(1, dogs=[1])))
    manager.observe(disk(1) | disk(1, name="dogs", wanted=False))
    await manager.drive(["dogs"])
    assert states(manager, "dogs") == {1: State.DISABLED}
    assert states(manager) == {1: State.LOADING}
    loader.finish("cats", 1)
    await run_what_can_run()
    assert states(manager) == {1: State.READY}


async def test_a_load_that_waits_for_its_turn_does_not_hold_up_its_own_models_unload(
    manager, loader
):
    await manager.reconcile(disk(1))
    loader.hold("birds", 1)
    first = await start(manager.reconcile(disk(1, birds=[1])))
    second = await start(manager.reconcile(disk(1, 2, birds=[1])))
    manager.observe(disk(1, 2, wanted=False) | disk(1, name="birds"))
    await manager.drive(["cats"])
    assert states(manager) == {2: State.NEW, 1: State.DISABLED}
    assert states(manager, "birds") == {1: State.LOADING}
    loader.finish("birds", 1)
    await asyncio.gather(first, second)
    assert loader.calls == [("cats", 1), ("birds", 1)]


async def test_a_drain_takes_no_other_models_turn_to_load(manager, loader):
    await manager.reconcile(disk(1))
    handle = manager.acquire("cats")
    loader.hold("birds", 1)
    tasks = [await start(manager.reconcile(disk(1, birds=[1])))]
    for _ in range(2):  # both wait for the same turn
        tasks.append(await start(manager.reconcile(disk(1, 2, birds=[1]))))
    loader.finish("birds", 1)
    await run_what_can_run()
    assert states(manager) == {2: State.READY, 1: State.QUIESCING}

    tasks.append(await start(manager.reconcile(disk(1, 2, birds=[1], dogs=[1]))))
    assert states(manager, "dogs") == {1: State.READY}
    handle.release()
    await asyncio.gather(*tasks)


async def test_an_unload_that_comes_during_the_load_follows_it(manager, loader):
    loader.hold("cats", 1)
    loading = await start(manager.reconcile(disk(1)))
    unloading = await start(manager.reconcile(disk(1, wanted=False)))
    assert states(manager) == {1: State.LOADING}
    loader.finish("cats", 1)
    await asyncio.gather(loading, unloading)
    assert states(manager) == {1: State.DISABLED}
    assert loader.loaded[0].closed == 1


async def test_only_the_models_that_are_named_are_driven(manager, loader):
    manager.observe(disk(1, dogs=[1]))
    await manager.drive(["dogs", "unknown"])
    assert loader.calls == [("dogs", 1)]
