"""The loader is a fake driven by hand: a test says when a load ends, and how."""

import asyncio
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion, ModelNotFound, ModelUnavailable, TriptychError
from serving.manager import Manager, VersionStatus
from serving.repository import VersionFolder
from serving.version_policy import State


class Loaded:
    def __init__(self, folder):
        manifest = manifest_pb2.Manifest(name=folder.name, schema_version=folder.version)
        self.servable = SimpleNamespace(executor_name="fake", manifest=manifest)
        self.batcher = None
        self.folder = folder
        self.closed = 0

    async def close(self):
        self.closed += 1


class Loader:
    """Loads at once, but for the versions in `held`, which wait for `finish`."""

    def __init__(self):
        self.calls = []
        self.loaded = []
        self.errors = {}
        self.held = {}

    async def __call__(self, folder):
        key = (folder.name, folder.version)
        self.calls.append(key)
        if key in self.held:
            await self.held[key].wait()
        if key in self.errors:
            raise self.errors[key]
        self.loaded.append(Loaded(folder))
        return self.loaded[-1]

    def hold(self, name, version):
        self.held[name, version] = asyncio.Event()

    def finish(self, name, version):
        self.held[name, version].set()


class Announcements(list):
    def __call__(self, name, ready):
        self.append((name, ready))


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def announced():
    return Announcements()


@pytest.fixture
def manager(loader, announced):
    return Manager(loader, on_change=announced)


def on_disk(number, fingerprint="", problem=None, name="cats"):
    return VersionFolder(name, number, Path("models", name, str(number)), fingerprint, problem)


def disk(*versions, name="cats", **others):
    """A snapshot: versions of `name` as numbers or folders, and other models as name=[versions]."""
    folders = [on_disk(v, name=name) if isinstance(v, int) else v for v in versions]
    snapshot = {name: {folder.version: folder for folder in folders}} if folders else {}
    for other, numbers in others.items():
        snapshot |= disk(*numbers, name=other)
    return snapshot


async def run_what_can_run():
    """No time passes: tasks that are ready get their turns."""
    for _ in range(30):
        await asyncio.sleep(0)


async def start(coroutine):
    task = asyncio.create_task(coroutine)
    await run_what_can_run()
    return task


def states(manager, name="cats"):
    return {number: status.state for number, status in manager.status(name).items()}


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
    manifest = manifest_pb2.Manifest(name="cats", schema_version=1)
    assert manager.models() == {"cats": {1: VersionStatus(1, State.READY, "", "fake", manifest)}}


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
    assert manager.status("cats")[1] == VersionStatus(1, State.DISABLED, "", "", None)
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


async def test_error_while_unloading_is_told_and_goes_no_further(manager, loader):
    async def close():
        raise OSError("device is gone")

    await manager.reconcile(disk(1))
    loader.loaded[0].close = close
    await manager.reconcile(disk(1, 2))
    assert states(manager) == {2: State.READY, 1: State.DISABLED}


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


@pytest.mark.parametrize(
    ("name", "version", "error", "message"),
    [
        ("resnet2", None, ModelNotFound, "'resnet2'. Did you mean 'resnet20'? This server has "),
        ("zebra", None, ModelNotFound, "no model is named 'zebra'. This server has cats, resnet20"),
        ("", None, ModelNotFound, "no model is named ''. This server has cats, resnet20"),
        ("cats", 7, ModelNotFound, "model 'cats' has no version 7. It has 2, 1"),
        ("cats", 1, ModelUnavailable, "model 'cats' version 1 is NEW; version 2 is ready"),
        ("resnet20", 3, ModelUnavailable, "'resnet20' version 3 is NEW (half); no version is"),
        ("resnet20", None, ModelUnavailable, "has no version that is ready: 3 NEW (half)"),
    ],
)
async def test_acquire_says_what_is_wrong_and_what_there_is(manager, name, version, error, message):
    await manager.reconcile(disk(1, 2) | disk(on_disk(3, "", "half", "resnet20"), name="resnet20"))
    with pytest.raises(error) as caught:
        manager.acquire(name, version)
    assert message in str(caught.value)


async def test_unknown_model_in_an_empty_repository(manager):
    with pytest.raises(ModelNotFound, match="no models"):
        manager.acquire("cats")
    with pytest.raises(ModelNotFound, match="no models"):
        manager.status("cats")


async def test_messages_stay_short(manager):
    """An error's text travels in an HTTP/2 header, of which a peer may take 8 KiB."""
    await manager.reconcile(
        {f"model{i}": disk(1, name=f"model{i}")[f"model{i}"] for i in range(99)}
    )
    with pytest.raises(ModelNotFound, match="and 79 more") as caught:
        manager.acquire("model" * 1_000_000)
    assert len(str(caught.value)) < 1000


steps = st.lists(
    st.tuples(
        st.sets(st.integers(1, 4)),  # versions on disk
        st.sets(st.integers(1, 4)),  # those of them that fail to load
        st.booleans(),  # whether a call is under way meanwhile
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
        for numbers, failing, busy in steps:
            loader.errors = {("cats", number): BadVersion("bad") for number in failing}
            handle = manager.acquire("cats") if busy and answered else None
            task = await start(manager.reconcile(disk(*numbers)))
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
            assert answers or not (answered and numbers)
            assert answers or numbers <= failing | {n for _, n in loader.calls}
            assert sum(not loaded.closed for loaded in loader.loaded) == answers
            assert answers == ((announced or [("cats", False)])[-1][1])
            answered = answers
        await manager.close()
        assert all(loaded.closed == 1 for loaded in loader.loaded)

    asyncio.run(scenario())
