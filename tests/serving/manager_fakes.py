"""What the tests of the manager share: a loader that is driven by hand, and snapshots of a disk."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from protos.triptych.v1 import manifest_pb2
from serving.model_config import ModelConfig
from serving.repository import ModelFolder, VersionFolder

PATIENT_SECONDS = 30.0


class Loaded:
    def __init__(self, folder):
        manifest = manifest_pb2.Manifest(name=folder.name, schema_version=folder.version)
        self.servable = SimpleNamespace(
            executor_name="fake", precision="f32", manifest=manifest, report=None
        )
        self.batcher = self.statistics = None
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


def on_disk(number, fingerprint="", problem=None, name="cats", config=None, stamp=""):
    return VersionFolder(
        name,
        number,
        Path("models", name, str(number)),
        fingerprint,
        problem,
        config=config or ModelConfig(),
        stamp=stamp or fingerprint,
    )


def unreadable(name):
    return {name: ModelFolder(name, None, "cannot list its folder", {})}


def disk(*versions, name="cats", config=None, problem=None, wanted=True, **others):
    """A snapshot: versions of `name` as numbers or folders, and other models as name=[versions].

    config: of `name`, as a model.toml would have it.
    """
    config = ModelConfig.model_validate(config or {})
    folders = [on_disk(v, name=name, config=config) if isinstance(v, int) else v for v in versions]
    snapshot: Mapping[str, ModelFolder] = {}
    if folders:
        found = {folder.version: folder for folder in folders}
        snapshot = {name: ModelFolder(name, config, problem, found, wanted)}
    for other, numbers in others.items():
        snapshot |= disk(*numbers, name=other)
    return snapshot


async def run_what_can_run():
    """No time passes: tasks that are ready get their turns."""
    for _ in range(30):
        await asyncio.sleep(0)


async def until(condition):
    """What is waited for happens in a thread that reads the disk."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def start(coroutine):
    task = asyncio.create_task(coroutine)
    await run_what_can_run()
    return task


def states(manager, name="cats"):
    return {number: status.state for number, status in manager.status(name).items()}


def answering(manager, label):
    """The version of "cats" that a call with this label would get."""
    with manager.acquire("cats", label=label) as handle:
        return handle.version


def publish(root, name, *versions, config=None):
    """As another process does it: all of a version at once. No manifest, so that it is foreign."""
    for version in versions:
        folder = root / name / f".tmp-{version}"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
        folder.rename(root / name / str(version))
    if config is not None:
        (root / name / "model.toml").write_text(config)
