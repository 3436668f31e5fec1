"""Versions that cannot be loaded, or should not be: a reason each, and no harm to others."""

import asyncio
import weakref
from collections import Counter

import pytest

from serving.errors import BadVersion, ModelUnavailable
from serving.managed_version import MAX_REASON_CHARACTERS
from serving.manager import Manager
from serving.version_policy import State
from tests.serving.manager_fakes import disk, on_disk, start, states, unreadable


async def test_failed_version_leaves_the_old_one(manager, loader, announced):
    await manager.reconcile(disk(1))
    loader.errors["cats", 2] = BadVersion("golden input 3 differs by 0.2")
    await manager.reconcile(disk(1, 2))

    assert states(manager) == {2: State.FAILED, 1: State.READY}
    assert manager.status("cats")[2].reason == "golden input 3 differs by 0.2"
    assert manager.acquire("cats").version == 1
    with pytest.raises(ModelUnavailable, match=r"2 is FAILED \(golden input 3 differs by 0.2\)"):
        manager.acquire("cats", 2)
    assert announced == [("cats", False), ("cats", True)]


async def test_failed_version_is_tried_again_once_its_folder_changed(manager, loader):
    loader.errors["cats", 2] = BadVersion("corrupt")
    await manager.reconcile(disk(1, on_disk(2, "as copied")))
    await manager.reconcile(disk(1, on_disk(2, "as copied")))
    assert Counter(loader.calls) == {("cats", 2): 1, ("cats", 1): 1}

    del loader.errors["cats", 2]
    await manager.reconcile(disk(1, on_disk(2, "repaired")))
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    assert manager.status("cats")[2].reason == ""


async def test_failed_version_is_tried_again_once_its_rights_are_others(manager, loader):
    loader.errors["cats", 1] = BadVersion("saved_model.pb cannot be read: Permission denied")
    await manager.reconcile(disk(on_disk(1, "a", stamp="mode 000")))
    del loader.errors["cats", 1]
    await manager.reconcile(disk(on_disk(1, "a", stamp="mode 644")))
    assert states(manager) == {1: State.READY}

    await manager.reconcile(disk(on_disk(1, "a", stamp="mode 640")))
    assert manager.status("cats")[1].reason == "", "what serves does not care"
    assert loader.calls == [("cats", 1)] * 2


async def test_folder_that_disappears_while_it_loads_is_forgotten(manager, loader, announced):
    await manager.reconcile(disk(1))
    loader.hold("cats", 2)
    loader.errors["cats", 2] = FileNotFoundError("saved_model.pb")
    loading = await start(manager.reconcile(disk(1, 2)))
    manager.observe(disk(1))
    assert states(manager)[2] is State.LOADING
    loader.finish("cats", 2)
    await loading
    assert states(manager) == {1: State.READY}
    assert announced == [("cats", False), ("cats", True)]


async def test_folder_that_changes_while_its_load_fails_is_tried_again(manager, loader):
    loader.errors["cats", 1] = BadVersion("corrupt")
    loader.hold("cats", 1)
    first = await start(manager.reconcile(disk(on_disk(1, "half"))))
    second = await start(manager.reconcile(disk(on_disk(1, "whole"))))
    loader.finish("cats", 1)
    await asyncio.gather(first, second)
    assert loader.calls == [("cats", 1)] * 2


async def test_at_start_an_older_version_stands_in_for_a_failed_one(manager, loader):
    loader.errors["cats", 3] = BadVersion("corrupt")
    await manager.reconcile(disk(1, 2, 3))
    assert states(manager) == {3: State.FAILED, 2: State.READY, 1: State.NEW}
    assert manager.acquire("cats").version == 2


async def test_unforeseen_error_is_the_versions_reason(manager, loader):
    loader.errors["cats", 1] = MemoryError("cannot allocate 4 GiB")
    await manager.reconcile(disk(1, dogs=[1]))
    assert manager.status("cats")[1].reason == "MemoryError: cannot allocate 4 GiB"
    with pytest.raises(ModelUnavailable, match=r"no version that is ready: 1 FAILED \(MemoryErr"):
        manager.acquire("cats")
    assert manager.acquire("dogs").version == 1


class Panic(BaseException):
    """As libraries in other languages raise it, past every `except Exception`."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Panic("index out of bounds"), "Panic: index out of bounds"),
        (asyncio.CancelledError("a thread pool was shut"), "CancelledError: a thread pool was"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
async def test_whatever_a_load_raises_is_a_reason(manager, loader, error, reason):
    loader.errors["cats", 1] = error
    await manager.reconcile(disk(1, dogs=[1]))
    assert manager.status("cats")[1].reason.startswith(reason)
    assert manager.acquire("dogs").version == 1


async def test_a_reason_is_cut(manager, loader):
    loader.errors["cats", 1] = BadVersion("node " * 1_000_000)
    await manager.reconcile(disk(1))
    assert len(manager.status("cats")[1].reason) == MAX_REASON_CHARACTERS


async def test_a_failed_version_keeps_no_memory(manager, loader):
    """The frames of an error hold what the load had built so far."""

    class Weights:
        pass

    alive = []

    async def load(folder):
        weights = Weights()
        alive.append(weakref.ref(weights))
        raise BadVersion(f"golden inputs of {folder.name} are not reproduced")

    manager = Manager(load)
    await manager.reconcile(disk(1))
    assert states(manager) == {1: State.FAILED}
    assert alive[0]() is None


async def test_retry_tries_again_what_failed_and_nothing_else(manager, loader):
    loader.errors["cats", 2] = MemoryError("for the moment")
    await manager.reconcile(disk(1, 2))
    del loader.errors["cats", 2]
    manager.retry("cats")
    assert states(manager) == {2: State.NEW, 1: State.READY}
    await manager.drive()
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    assert Counter(loader.calls) == {("cats", 2): 2, ("cats", 1): 1}


async def test_failed_version_is_tried_again_with_other_settings(manager, loader):
    loader.errors["cats", 1] = BadVersion("openvino cannot compile it")
    await manager.reconcile(disk(1))
    await manager.reconcile(disk(1, config={"labels": {"stable": 1}}))
    assert loader.calls == [("cats", 1)]

    del loader.errors["cats", 1]
    await manager.reconcile(disk(1, config={"executor": "tensorflow"}))
    assert states(manager) == {1: State.READY}
    assert loader.loaded[0].folder.config.executor == "tensorflow"


async def test_other_settings_of_what_is_loaded_are_told_and_wait(manager, loader):
    await manager.reconcile(disk(1))
    await manager.reconcile(disk(1, config={"batching": {"max_batch_size": 4}}))
    assert "count once the version is loaded again" in manager.status("cats")[1].reason
    await manager.reconcile(disk(1, 2, config={"batching": {"max_batch_size": 4}}))
    assert loader.loaded[-1].folder.config.batching.max_batch_size == 4


async def test_wrong_settings_are_told_and_what_is_loaded_goes_on(manager):
    await manager.reconcile(disk(1))
    await manager.reconcile(disk(1, problem="cats/model.toml: executor is 1"))
    assert manager.status("cats")[1].reason == "cats/model.toml: executor is 1"
    assert manager.acquire("cats").version == 1
    await manager.reconcile(disk(1))
    assert manager.status("cats")[1].reason == ""


async def test_half_copied_version_waits(manager, loader):
    await manager.reconcile(disk(1, on_disk(2, "a", "saved_model.pb is missing")))
    assert loader.calls == [("cats", 1)]
    status = manager.status("cats")[2]
    assert (status.state, status.reason) == (State.NEW, "saved_model.pb is missing")

    await manager.reconcile(disk(1, on_disk(2, "b")))
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    assert manager.status("cats")[2].reason == ""


async def test_rewritten_folder_is_reported_and_what_is_loaded_goes_on(manager, loader):
    await manager.reconcile(disk(on_disk(1, "a")))
    await manager.reconcile(disk(on_disk(1, "b", "saved_model.pb is missing")))
    status = manager.status("cats")[1]
    assert status.state is State.READY
    assert status.reason.startswith("changed on disk since it was loaded")
    await manager.reconcile(disk(on_disk(1, "b")))
    assert loader.calls == [("cats", 1)]
    assert manager.acquire("cats").loaded.folder.fingerprint == "a"


@pytest.mark.parametrize(
    "error", [OSError("device is gone"), Panic("double free"), asyncio.CancelledError("of a pool")]
)
async def test_error_while_unloading_goes_no_further(manager, loader, error):
    async def close():
        raise error

    await manager.reconcile(disk(1))
    loader.loaded[0].close = close
    loader.hold("dogs", 1)
    task = await start(manager.reconcile(disk(1, 2, dogs=[1])))
    loader.finish("dogs", 1)
    await task
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    assert states(manager, "dogs") == {1: State.READY}


async def test_a_model_that_cannot_be_read_says_so_and_is_forgotten_with_its_folder(manager):
    await manager.reconcile(unreadable("cats") | disk(1, name="dogs"))
    for version in (None, 1):
        with pytest.raises(ModelUnavailable, match=r"'cats' has no version .*: cannot list its"):
            manager.acquire("cats", version)
    assert manager.status("cats") == {}
    assert manager.acquire("dogs").version == 1

    await manager.reconcile(disk(1, dogs=[1]))
    assert states(manager) == {1: State.READY}
    await manager.reconcile(disk(dogs=[1]))
    await manager.reconcile(unreadable("cats") | disk(1, name="dogs"))
    await manager.reconcile(disk(dogs=[1]))
    assert list(manager.models()) == ["dogs"]
