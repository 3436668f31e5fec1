"""What a caller gets: the version that was meant, or what is wrong and what there is."""

import pytest

from serving.errors import BadVersion, LabelNotFound, ModelNotFound, ModelUnavailable
from serving.manager import Manager
from serving.version_policy import State
from tests.serving.manager_fakes import disk, on_disk, start

LABELLED = {"version_policy": "all", "labels": {"stable": 1, "canary": 2, "next": 9}}


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


# Labels


async def test_a_label_is_its_version(manager):
    await manager.reconcile(disk(1, 2, 3, config=LABELLED))
    assert manager.labels("cats") == {"stable": 1, "canary": 2, "next": 9}
    assert manager.acquire("cats", label="stable").version == 1
    assert manager.acquire("cats", label="canary").version == 2
    assert manager.acquire("cats").version == 3


async def test_a_label_moves_at_once(manager):
    await manager.reconcile(disk(1, 2, config=LABELLED))
    manager.observe(disk(1, 2, config=LABELLED | {"labels": {"stable": 2}}))
    assert manager.acquire("cats", label="stable").version == 2
    with pytest.raises(LabelNotFound):
        manager.acquire("cats", label="canary")


async def test_a_number_that_is_no_label_is_a_version(manager):
    """perf_analyzer puts versions there."""
    await manager.reconcile(disk(1, 2, config=LABELLED))
    assert manager.acquire("cats", label="2").version == 2
    with pytest.raises(ModelNotFound, match="no version 7"):
        manager.acquire("cats", label="7")


@pytest.mark.parametrize("label", ["gold", "", "01", "-1", "1.0", "٣", "9" * 5000, "x" * 100_000])
async def test_an_unknown_label_names_those_that_there_are(manager, label):
    await manager.reconcile(disk(1, 2, config=LABELLED))
    with pytest.raises(LabelNotFound, match="It has canary, next, stable") as caught:
        manager.acquire("cats", label=label)
    assert len(str(caught.value)) < 300


async def test_a_label_of_a_model_without_any(manager):
    await manager.reconcile(disk(1))
    with pytest.raises(
        LabelNotFound, match=r"no version label 'stable'. It has none: .*model.toml"
    ):
        manager.acquire("cats", label="stable")
    with pytest.raises(ModelNotFound, match="no model is named 'dogs'"):
        manager.acquire("dogs", label="stable")


async def test_a_label_of_what_is_not_ready(manager, loader):
    loader.errors["cats", 2] = BadVersion("corrupt")
    await manager.reconcile(disk(1, 2, config=LABELLED))
    with pytest.raises(ModelUnavailable, match=r"'canary' .* version 2, which is FAILED \(corrupt"):
        manager.acquire("cats", label="canary")
    with pytest.raises(ModelUnavailable, match="version 9, which is not in the repository"):
        manager.acquire("cats", label="next")


# Status


async def test_the_time_of_a_load_is_told(loader):
    now = [0.0]
    manager = Manager(loader, clock=lambda: now[0])
    loader.hold("cats", 1)
    loader.errors["dogs", 1] = BadVersion("corrupt")
    task = await start(manager.reconcile(disk(1)))
    assert manager.status("cats")[1].load_seconds == 0.0
    now[0] = 2.5
    loader.finish("cats", 1)
    await task
    assert manager.status("cats")[1].load_seconds == 2.5

    loader.hold("dogs", 1)
    task = await start(manager.reconcile(disk(1, dogs=[1])))
    now[0] = 4.0
    loader.finish("dogs", 1)
    await task
    status = manager.status("dogs")[1]
    assert (status.state, status.load_seconds, str(status)) == (
        State.FAILED,
        1.5,
        "1 FAILED (corrupt)",
    )
