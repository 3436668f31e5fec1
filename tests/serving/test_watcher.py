"""Following a repository on a real disk, with a manager whose loader is driven by hand."""

import asyncio
import shutil
from pathlib import Path

import pytest

from serving.errors import BadVersion, ModelNotFound, ModelUnavailable, RepositoryError
from serving.manager import Manager
from serving.version_policy import State
from serving.watcher import IndexEntry, Watcher
from tests.serving.manager_fakes import (
    answering,
    publish,
    run_what_can_run,
    start,
    states,
    until,
)

SOON_SECONDS = 0.01


@pytest.fixture
async def watcher(root, manager):
    watcher = Watcher(root, manager, SOON_SECONDS)  # which only `start` begins
    yield watcher
    await watcher.stop()


# Following


async def test_rescan_ends_when_all_is_done(root, manager, watcher):
    publish(root, "cats", 1, 2)
    publish(root, "dogs", 1)
    await watcher.rescan()
    assert watcher.index() == [
        IndexEntry("cats", 2, State.READY, ""),
        IndexEntry("cats", 1, State.NEW, ""),
        IndexEntry("dogs", 1, State.READY, ""),
    ]


async def test_rescan_waits_for_a_foreign_version_that_has_just_come(root, manager, loader):
    watcher = Watcher(root, manager, poll_seconds=0.2)
    publish(root, "cats", 1)
    await watcher.rescan()
    assert states(manager) == {1: State.READY}


async def test_polling_finds_what_comes_and_goes(root, manager, watcher):
    await watcher.rescan()
    watcher.start()
    publish(root, "cats", 1)
    await until(lambda: watcher.index() == [IndexEntry("cats", 1, State.READY, "")])
    publish(root, "cats", 2)
    await until(lambda: "cats" in manager.models() and states(manager).get(2) is State.READY)
    shutil.rmtree(root / "cats")
    await until(lambda: watcher.index() == [])


async def test_a_slow_load_does_not_hold_up_polling(root, manager, loader, watcher):
    publish(root, "cats", 1)
    publish(root, "dogs", 1)
    await watcher.rescan()
    loader.hold("cats", 2)
    watcher.start()
    publish(root, "cats", 2)
    await until(lambda: states(manager).get(2) is State.LOADING)
    shutil.rmtree(root / "dogs")
    await until(lambda: "dogs" not in manager.models())
    assert states(manager) == {2: State.LOADING, 1: State.READY}


async def test_a_repository_that_vanishes_takes_nothing_and_may_come_back(root, manager, watcher):
    publish(root, "cats", 1)
    await watcher.rescan()
    watcher.start()
    away = root.rename(root.parent / "elsewhere")
    with pytest.raises(RepositoryError):
        await watcher.rescan()
    with pytest.raises(RepositoryError):
        await watcher.load("cats")
    assert states(manager) == {1: State.READY}
    publish(away, "cats", 2)
    away.rename(root)
    await until(lambda: states(manager) == {2: State.READY, 1: State.DISABLED})


async def test_an_unforeseen_error_does_not_end_the_polling(root, loader):
    def on_change(name, ready):
        if name == "dogs" and calls.append(name) is None and len(calls) == 1:
            raise ZeroDivisionError

    calls = []
    manager = Manager(loader, on_change=on_change)
    watcher = Watcher(root, manager, SOON_SECONDS)
    watcher.start()
    publish(root, "dogs", 1)
    await until(lambda: watcher.index() == [IndexEntry("dogs", 1, State.READY, "")])
    await watcher.stop()


async def test_model_toml_is_followed(root, manager, watcher):
    publish(root, "cats", 1, 2, config='version_policy = "all"\nlabels = {stable = 1}')
    await watcher.rescan()
    assert states(manager) == {2: State.READY, 1: State.READY}
    assert answering(manager, "stable") == 1

    publish(root, "cats", config="labels = {stable = 2}")
    await watcher.rescan()
    assert states(manager)[2] is State.READY
    assert answering(manager, "stable") == 2

    publish(root, "cats", config="labels = 2")
    await watcher.rescan()
    assert answering(manager, "stable") == 2
    assert "cats/model.toml: labels is 2" in manager.status("cats")[2].reason


async def test_a_model_toml_that_is_mended_or_removed_counts_at_once(root, manager, watcher):
    publish(root, "cats", 1, 2, config='version_policy = "al"')
    await watcher.rescan()
    assert states(manager) == {2: State.NEW, 1: State.NEW}
    publish(root, "cats", config='version_policy = "all"')
    await watcher.rescan()
    assert states(manager) == {2: State.READY, 1: State.READY}
    (root / "cats" / "model.toml").unlink()
    await watcher.rescan()
    assert states(manager) == {2: State.READY, 1: State.DISABLED}


# What is wrong with a folder, and freezes nothing else


async def test_a_refused_version_is_loaded_once_its_files_are_completed(root, manager, watcher):
    publish(root, "cats", 1)
    publish(root, "cats", 2)
    (root / "cats" / "2" / "variables").mkdir()
    shard = root / "cats" / "2" / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(b"weights")
    publish(root, "dogs", 1)
    await watcher.rescan()
    assert states(manager) == {2: State.NEW, 1: State.READY}
    assert "variables.index is missing" in manager.status("cats")[2].reason
    assert states(manager, "dogs") == {1: State.READY}

    shard.with_name("variables.index").write_bytes(b"index")
    await watcher.rescan()
    assert states(manager) == {2: State.READY, 1: State.DISABLED}


@pytest.mark.parametrize("mend", [lambda file: file.write_bytes(b"better"), Path.touch])
async def test_a_version_that_failed_is_loaded_once_its_files_are_others(
    root, manager, loader, watcher, mend
):
    publish(root, "cats", 1, 2)
    loader.errors["cats", 2] = MemoryError("cannot allocate 4 GiB")
    await watcher.rescan()
    await watcher.rescan()
    assert [number for _, number in loader.calls] == [2, 1]
    del loader.errors["cats", 2]
    mend(root / "cats" / "2" / "saved_model.pb")
    await watcher.rescan()
    assert states(manager) == {2: State.READY, 1: State.DISABLED}


async def test_a_version_that_is_replaced_in_place_serves_as_it_was_and_says_so(
    root, manager, loader, watcher
):
    publish(root, "cats", 1)
    await watcher.rescan()
    loaded = manager.acquire("cats").loaded
    (root / "cats" / "1" / "saved_model.pb").write_bytes(b"another graph")
    await watcher.rescan()
    assert manager.acquire("cats").loaded is loaded
    assert "publish a new version instead" in manager.status("cats")[1].reason
    assert loader.calls == [("cats", 1)]


async def test_a_version_that_disappears_while_it_loads_leaves_the_old_one(
    root, manager, loader, watcher
):
    publish(root, "cats", 1)
    await watcher.rescan()
    loader.hold("cats", 2)
    loader.errors["cats", 2] = FileNotFoundError("saved_model.pb")
    publish(root, "cats", 2)
    loading = await start(watcher.rescan())
    await until(lambda: ("cats", 2) in loader.calls)
    shutil.rmtree(root / "cats" / "2")
    looking = await start(watcher.rescan())
    loader.finish("cats", 2)
    await asyncio.gather(loading, looking)
    assert states(manager) == {1: State.READY}


@pytest.mark.parametrize("damage", ["model.toml", "folder", "version"])
async def test_what_no_one_can_read_freezes_no_other_model(root, manager, watcher, damage):
    publish(root, "cats", 1)
    await watcher.rescan()
    if damage == "model.toml":
        publish(root, "cats", config=f"labels.stable = {'1' * 5000}")
    elif damage == "version":
        (root / "cats" / "2").symlink_to("2")
    else:
        (root / "cats").rename(root / ".cats")
        (root / "cats").symlink_to("cats")
    publish(root, "dogs", 1)
    await watcher.rescan()
    assert states(manager, "dogs") == {1: State.READY}
    assert states(manager)[1] is State.READY
    assert any(status.reason for status in manager.status("cats").values())


# Load and unload


async def test_unload_stays_until_load(root, manager, loader, watcher):
    publish(root, "cats", 1)
    publish(root, "dogs", 1)
    await watcher.rescan()

    await watcher.unload("cats")
    assert watcher.index()[0][:3] == ("cats", 1, State.DISABLED)
    assert watcher.index()[0].reason.startswith("unloaded on request")
    publish(root, "cats", 2)
    await watcher.rescan()
    assert states(manager) == {2: State.NEW, 1: State.DISABLED}
    assert states(manager, "dogs") == {1: State.READY}

    await watcher.load("cats")
    assert states(manager) == {2: State.READY, 1: State.DISABLED}


async def test_unload_waits_for_calls_and_for_no_other_model(root, manager, loader, watcher):
    publish(root, "cats", 1)
    await watcher.rescan()
    handle = manager.acquire("cats")
    publish(root, "dogs", 1)
    loader.hold("dogs", 1)
    loading = await start(watcher.rescan())
    await until(lambda: "dogs" in manager.models())
    unloading = await start(watcher.unload("cats"))
    assert not unloading.done()
    handle.release()
    await unloading
    assert handle.loaded.closed == 1
    assert not loading.done()
    loader.finish("dogs", 1)
    await loading


async def test_a_caller_that_leaves_leaves_nothing_half_done(root, manager, watcher):
    publish(root, "cats", 1)
    await watcher.rescan()
    handle = manager.acquire("cats")
    unloading = await start(watcher.unload("cats"))
    unloading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unloading
    handle.release()
    await run_what_can_run()
    assert states(manager) == {1: State.DISABLED}


async def test_unload_before_the_first_look(root, manager, loader, watcher):
    publish(root, "cats", 1)
    await watcher.unload("cats")
    await watcher.rescan()
    assert loader.calls == []


async def test_load_tries_again_what_failed_and_says_why_it_cannot(root, manager, loader, watcher):
    publish(root, "cats", 1, 2)
    loader.errors["cats", 1] = BadVersion("one is corrupt")
    loader.errors["cats", 2] = MemoryError("two is large")
    with pytest.raises(BadVersion) as caught:
        await watcher.load("cats")
    assert "version 1: one is corrupt" in str(caught.value)
    assert "version 2: MemoryError: two is large" in str(caught.value)

    del loader.errors["cats", 1]
    await watcher.load("cats")  # an older one is ready, and answers
    assert states(manager) == {2: State.FAILED, 1: State.READY}
    del loader.errors["cats", 2]
    await watcher.load("cats")
    assert states(manager) == {2: State.READY, 1: State.DISABLED}
    await watcher.load("cats")
    assert [number for _, number in loader.calls] == [2, 1, 2, 1, 2]


async def test_load_finds_what_has_just_been_published(root, manager, watcher):
    await watcher.rescan()
    publish(root, "cats", 1)
    await watcher.load("cats")
    assert states(manager) == {1: State.READY}


async def test_load_of_a_model_with_wrong_settings_says_so(root, watcher):
    publish(root, "cats", 1, config="executor = 1")
    with pytest.raises(BadVersion, match=r"cats/model.toml: executor is 1"):
        await watcher.load("cats")


async def test_load_of_a_model_that_cannot_be_read_says_so(root, watcher):
    (root / "cats").symlink_to("cats")
    with pytest.raises(BadVersion, match="cannot list its folder"):
        await watcher.load("cats")


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_an_unknown_model(root, watcher, action):
    publish(root, "cats", 1)
    with pytest.raises(ModelNotFound, match="Did you mean 'cats'"):
        await getattr(watcher, action)("catz")


async def test_load_of_a_model_that_is_on_its_way_out(root, manager, watcher):
    publish(root, "cats", 1)
    await watcher.rescan()
    handle = manager.acquire("cats")
    shutil.rmtree(root / "cats")
    with pytest.raises(ModelNotFound, match="'cats' was deleted"):
        await watcher.load("cats")
    handle.release()


# The end


async def test_who_waits_is_told_that_the_server_ends(root, manager, loader, watcher):
    publish(root, "cats", 1)
    loader.hold("cats", 1)
    loading = await start(watcher.load("cats"))
    await until(lambda: loader.calls)
    await watcher.stop()
    with pytest.raises(ModelUnavailable, match="the server is ending"):
        await loading
    assert states(manager) == {1: State.NEW}
