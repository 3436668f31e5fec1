"""A new version is prepared by a process of its own, whose mishaps are the version's alone."""

import asyncio
import hashlib
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.errors import BadVersion
from serving.preparer import WORKER, Preparer
from serving.runtime.cache import Cache
from serving.runtime.manifest import MANIFEST, artefact_digest, read_manifest
from serving.runtime.opening import Wish, recall
from serving.runtime.prepared import Prepared
from serving.runtime.servable import Servable
from tests.serving.supervised import side_processes

WISH = Wish("openvino", threads=1, seconds=0)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
async def preparer(cache: Cache):
    preparer = Preparer(cache)
    yield preparer
    await preparer.close()
    assert side_processes(WORKER) == []


def digest(folder: Path) -> str:
    return artefact_digest(read_manifest(folder))


def is_prepared(folder: Path, cache: Cache, wish: Wish = WISH) -> bool:
    return (
        recall(digest(folder), "predict", wish, cache) is not None
        and Prepared.recall(folder, digest(folder), cache) is not None
    )


def falsified(folder: Path) -> None:
    """As it was exported, by its digests, and other scores than it computes."""
    path, manifest = folder / "assets.extra" / "golden.json", folder / MANIFEST
    before = path.read_text()
    place = re.search(r"0\.\d+", before)
    after = f"{before[: place.start()]}{'0.5':0<{len(place[0])}}{before[place.end() :]}"
    path.write_text(after)
    old, new = (hashlib.sha256(text.encode()).hexdigest() for text in (before, after))
    manifest.write_text(manifest.read_text().replace(old, new))


async def test_each_version_is_prepared_once(tiny, tmp_path, cache, preparer) -> None:
    """By one process, which is asked again for another version, and for none that it knows; at
    another priority by another one."""
    one, other = (tiny.publish(tmp_path, "text", number, seed=number) for number in (1, 2))
    await preparer.prepare(one, WISH, 0)
    assert is_prepared(one, cache)
    (process,) = side_processes(WORKER)
    await preparer.prepare(other, WISH, 0)
    assert is_prepared(other, cache)
    assert side_processes(WORKER) == [process]
    for path in set(one.iterdir()) - {one / "assets.extra"}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    await preparer.prepare(one, WISH, 0)  # it would find nothing
    await preparer.prepare(tiny.publish(tmp_path, "text", 3, seed=3), WISH, 3)
    (lower,) = set(side_processes(WORKER)) - {process}  # which may be ending still
    assert os.getpriority(os.PRIO_PROCESS, lower) == 3


async def test_a_bad_version_is_told_as_ever(tiny, tmp_path, cache, preparer) -> None:
    bad = tiny.publish(tmp_path, "text", 1, change=falsified)
    with pytest.raises(BadVersion, match="not reproduced") as here:
        Servable.load(bad, wish=WISH).check_golden()
    with pytest.raises(BadVersion) as there:
        await preparer.prepare(bad, WISH, 0)
    assert str(there.value) == str(here.value)
    good = tiny.publish(tmp_path, "text", 2)
    await preparer.prepare(good, WISH, 0)
    assert is_prepared(good, cache)


async def test_a_process_that_dies_takes_its_version_along(tiny, tmp_path, cache, preparer) -> None:
    folder = tiny.publish(tmp_path, "text", 1)
    preparing = asyncio.create_task(preparer.prepare(folder, WISH, 0))
    os.kill(await _only(lambda: side_processes(WORKER)), signal.SIGKILL)
    with pytest.raises(BadVersion, match=r"ended with -9 .* more memory than there is"):
        await preparing
    await preparer.prepare(folder, WISH, 0)
    assert is_prepared(folder, cache)


async def test_of_two_servers_one_prepares(tiny, tmp_path, cache, preparer) -> None:
    """The other one waits, and has no process."""
    folder, other = tiny.publish(tmp_path, "text", 1), Preparer(Cache(cache.folder))
    async with asyncio.TaskGroup() as group:
        for one in (preparer, other):
            group.create_task(one.prepare(folder, WISH, 0))
    assert len(side_processes(WORKER)) == 1
    assert is_prepared(folder, cache)
    await other.close()


async def test_who_gives_up_leaves_no_process(tiny, tmp_path, preparer) -> None:
    preparing = asyncio.create_task(preparer.prepare(tiny.publish(tmp_path, "text", 1), WISH, 0))
    await _only(lambda: side_processes(WORKER))
    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    assert side_processes(WORKER) == []


@pytest.mark.parametrize("wish", [WISH, Wish("tensorflow", seconds=0)])
async def test_there_is_nothing_to_prepare(tiny, tmp_path, cache, preparer, wish) -> None:
    """Of a foreign version, of one that cannot be read, of one that TensorFlow computes, and where
    nothing is kept."""
    folder = tiny.publish(tmp_path, "text", 1)
    if wish.executor == "tensorflow":
        Servable.load(folder, wish=wish, cache=cache).close()
    else:
        await Preparer(Cache(None)).prepare(folder, wish, 0)
        (folder / MANIFEST).write_text("{")
        await preparer.prepare(folder, wish, 0)
        (folder / MANIFEST).unlink()
    await preparer.prepare(folder, wish, 0)
    assert side_processes(WORKER) == []


async def _only(processes: Callable[[], list[int]]) -> int:
    while not (found := processes()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    (process,) = found
    return process
