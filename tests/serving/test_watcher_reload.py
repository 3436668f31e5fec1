"""`Watcher.reload`: declarative, as TensorFlow Serving's HandleReloadConfigRequest."""

import shutil

import pytest

from serving.errors import BadVersion, ModelUnavailable
from serving.version_policy import All, Latest, Specific, State
from serving.watcher import Failure, LabelRefused, ModelOverride, ReloadFailed, Watcher
from tests.serving.manager_fakes import answering, publish, states

SOON_SECONDS = 0.01


@pytest.fixture
async def watcher(root, manager):
    publish(root, "cats", 1, 2, config="labels = {stable = 2}")
    publish(root, "dogs", 1)
    watcher = Watcher(root, manager, SOON_SECONDS)
    await watcher.rescan()
    yield watcher
    await watcher.stop()


async def test_absent_models_are_unloaded_and_come_back(root, manager, watcher):
    await watcher.reload({"cats": ModelOverride()})
    assert states(manager, "dogs") == {1: State.DISABLED}
    assert states(manager)[2] is State.READY

    publish(root, "dogs", 2)
    publish(root, "birds", 1)
    await watcher.rescan()
    assert State.READY not in states(manager, "dogs").values()
    assert states(manager, "birds") == {1: State.NEW}

    await watcher.load("birds")
    await watcher.reload({"dogs": ModelOverride()})
    assert states(manager, "dogs") == {2: State.READY, 1: State.DISABLED}
    assert states(manager, "birds") == {1: State.DISABLED}
    assert states(manager)[2] is State.DISABLED


async def test_policy_and_labels_override_model_toml_until_the_next(root, manager, watcher):
    await watcher.reload({"cats": ModelOverride(All(), {}), "dogs": ModelOverride()})
    assert states(manager) == {2: State.READY, 1: State.READY}
    assert manager.labels("cats") == {}
    await watcher.rescan()
    assert states(manager) == {2: State.READY, 1: State.READY}

    both = {"stable": 1, "canary": 2}
    await watcher.reload({"cats": ModelOverride(All(), both), "dogs": ModelOverride()})
    assert answering(manager, "stable") == 1
    assert answering(manager, "canary") == 2

    await watcher.reload({"cats": ModelOverride(), "dogs": ModelOverride()})
    assert manager.labels("cats") == {"stable": 2}
    assert states(manager) == {2: State.READY, 1: State.DISABLED}


async def test_an_older_version_by_request(manager, watcher):
    await watcher.reload({"cats": ModelOverride(Specific(frozenset({1})))})
    assert states(manager) == {2: State.DISABLED, 1: State.READY}


async def test_a_label_of_a_version_that_is_not_ready_changes_nothing(manager, watcher):
    for version in (1, 7):
        wanted = {"dogs": ModelOverride(), "cats": ModelOverride(All(), {"canary": version})}
        with pytest.raises(LabelRefused, match=f"'canary' .* version {version}, .* load it first"):
            await watcher.reload(wanted)
    with pytest.raises(LabelRefused):
        await watcher.reload({"birds": ModelOverride(labels={"stable": 1})})
    assert states(manager) == {2: State.READY, 1: State.NEW}
    assert manager.labels("cats") == {"stable": 2}
    assert issubclass(LabelRefused, ModelUnavailable)


async def test_what_does_not_become_available_is_named(root, manager, loader, watcher):
    loader.errors["cats", 1] = BadVersion("corrupt")
    with pytest.raises(ReloadFailed) as caught:
        await watcher.reload(
            {
                "cats": ModelOverride(Specific(frozenset({1, 9}))),
                "birds": ModelOverride(),
                "dogs": ModelOverride(),
            }
        )
    assert caught.value.failures == (
        Failure("birds", None, "the repository has no model of this name"),
        Failure("cats", 1, "corrupt"),
        Failure("cats", 9, "it is not in the repository"),
    )
    assert "model 'cats' version 1: corrupt" in str(caught.value)
    # What served goes on serving.
    assert states(manager) == {2: State.READY, 1: State.FAILED}
    assert states(manager, "dogs") == {1: State.READY}

    del loader.errors["cats", 1]
    publish(root, "birds", 1)  # which was wanted
    await watcher.rescan()
    assert states(manager, "birds") == {1: State.READY}
    await watcher.reload({"cats": ModelOverride(Latest(2))})  # tries again what failed
    assert states(manager) == {2: State.READY, 1: State.READY}


async def test_a_reload_clears_an_unload(manager, watcher):
    await watcher.unload("cats")
    await watcher.reload({"cats": ModelOverride(), "dogs": ModelOverride()})
    assert states(manager)[2] is State.READY
    await watcher.unload("cats")
    assert states(manager)[2] is State.DISABLED


async def test_nothing_wanted(root, manager, watcher):
    shutil.rmtree(root / "dogs")
    await watcher.reload({})
    assert states(manager) == {2: State.DISABLED, 1: State.NEW}
    assert list(manager.models()) == ["cats"]
