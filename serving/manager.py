"""Keeps the right versions loaded, and pins one for each call that uses it. asyncio, one loop.

What is on disk comes from `serving.watcher`, what to do next from `serving.version_policy`,
and how to load from the caller. Nothing here knows what a model computes.
"""

import asyncio
import difflib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from serving import version_policy
from serving.errors import ENDING, LabelNotFound, ModelNotFound, ModelUnavailable, TriptychError
from serving.managed_version import Handle, Loaded, ManagedVersion, VersionStatus
from serving.model_config import ModelConfig
from serving.repository import VERSION_NAME, ModelFolder, Snapshot, VersionFolder
from serving.version_policy import LOADABLE, Load, State, Unload

__all__ = ["Handle", "Loaded", "Manager", "VersionStatus"]

logger = logging.getLogger(__name__)

MAX_LISTED = 20  # names or versions in an error message
MAX_NAME_CHARACTERS = 100  # of a name that a message repeats, or that is compared with others


class _Model:
    """The versions of one model, and the folder that they were last seen in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = _absent(name)
        self.versions: dict[int, ManagedVersion] = {}
        self.driving = asyncio.Lock()  # who holds it changes states; everyone else reads them
        self.announced: bool | None = None

    @property
    def config(self) -> ModelConfig:
        return self.folder.config or ModelConfig()

    def observe(self, folder: ModelFolder) -> None:
        if folder.problem != self.folder.problem and not self.versions and not folder.versions:
            logger.warning("model %r: %s", self.name, folder.problem)  # a version would say it
        self.folder = folder
        for number, found in folder.versions.items():
            if number not in self.versions:
                self.versions[number] = ManagedVersion(found)
        for number, version in list(self.versions.items()):
            version.observe(
                folder.versions.get(number), wanted=folder.wanted, problem=folder.problem
            )
            if number not in folder.versions and version.state in LOADABLE | {State.FAILED}:
                del self.versions[number]

    def next_action(self) -> Load | Unload | None:
        folders = self.folder.versions
        seen = [
            version_policy.Version(
                number,
                version.state,
                on_disk=number in folders,
                complete=number in folders and folders[number].problem is None,
            )
            for number, version in self.versions.items()
        ]
        if not self.folder.wanted:
            return version_policy.next_action(seen, aspired=(), keep_one=False)
        aspired = version_policy.aspired(seen, self.config.version_policy)
        return version_policy.next_action(seen, aspired)

    def newest_ready(self) -> ManagedVersion | None:
        ready = [n for n, version in self.versions.items() if version.state is State.READY]
        return self.versions[max(ready)] if ready else None

    def newest_first(self) -> list[ManagedVersion]:
        return [self.versions[number] for number in sorted(self.versions, reverse=True)]


class Manager:
    """The models of one repository.

    Args:
        load: makes a version ready to answer: loaded, checked, warmed up. What it raises
            becomes the version's reason, and it is not tried again until its folder or its
            configuration changes, or `retry` asks for it.
        on_change: called with a model's name and whether a version of it is ready, when the
            model is first seen and whenever that changes.
        max_concurrent_loads: one by default, for loading keeps the processors from answering.
    """

    def __init__(
        self,
        load: Callable[[VersionFolder], Awaitable[Loaded]],
        *,
        on_change: Callable[[str, bool], None] = lambda name, ready: None,
        max_concurrent_loads: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._load_folder = load
        self._on_change = on_change
        self._loads = asyncio.Semaphore(max_concurrent_loads)
        self._clock = clock
        self._models: dict[str, _Model] = {}
        self._closing = False

    async def reconcile(self, snapshot: Snapshot) -> None:
        """Loads and unloads until all is as the snapshot asks, models side by side."""
        self.observe(snapshot)
        await self.drive()

    def observe(self, snapshot: Snapshot) -> None:
        """Takes note of what there should be. Nothing is loaded before `drive`."""
        if self._closing:
            return
        for name in sorted(self._models.keys() | snapshot.keys()):
            model = self._models.setdefault(name, _Model(name))
            model.observe(snapshot.get(name) or _absent(name))
            self._announce(model)

    async def drive(self, names: Iterable[str] | None = None) -> None:
        """Loads and unloads until these models, or all, are as was last observed.

        Calls may overlap: the newest snapshot counts, and nothing is loaded twice. A call that
        is cancelled leaves what it was loading New and what it was draining Quiescing; the next
        one goes on from there.
        """
        wanted = self._models.keys() if names is None else names
        async with asyncio.TaskGroup() as group:
            for model in [self._models[name] for name in wanted if name in self._models]:
                group.create_task(self._drive(model))

    def retry(self, name: str) -> None:
        """Lets the next `drive` try again what failed. Raises: ModelNotFound."""
        for version in self._find(name).versions.values():
            if version.state is State.FAILED:
                version.become(State.NEW)

    def acquire(self, name: str, version: int | None = None, *, label: str | None = None) -> Handle:
        """Pins a version: this one, that of a label, or the newest that is ready.

        Args:   label: of the model's configuration, or a version's number in digits.
        Raises: ModelNotFound for a name or version that the repository does not have.
                LabelNotFound for a label that the model does not have.
                ModelUnavailable for what cannot answer now, with its state and reason.
        """
        if self._closing:
            raise ModelUnavailable(f"{ENDING}: send the call to another one")
        model = self._find(name)
        if not model.versions:
            why = model.folder.problem or "it was deleted"
            raise ModelUnavailable(f"model {name!r} has no version that is ready: {why}")
        newest = model.newest_ready()
        if label is not None:
            version = self._labelled(model, label)
        elif version is None:
            if newest is None or newest.loaded is None:
                states = _list(str(v.status()) for v in model.newest_first())
                raise ModelUnavailable(f"model {name!r} has no version that is ready: {states}")
            return Handle(newest, newest.loaded)
        wanted = model.versions.get(version)
        if wanted is None:
            numbers = _list(str(known.folder.version) for known in model.newest_first())
            raise ModelNotFound(f"model {name!r} has no version {version}. It has {numbers}")
        if wanted.state is not State.READY or wanted.loaded is None:
            ready = f"version {newest.folder.version} is" if newest else "no version is"
            raise ModelUnavailable(f"{wanted} is {wanted.describe()}; {ready} ready")
        return Handle(wanted, wanted.loaded)

    def labels(self, name: str) -> Mapping[str, int]:
        """Label -> version, be it ready or not. Raises: ModelNotFound."""
        return self._find(name).config.labels

    def models(self) -> dict[str, dict[int, VersionStatus]]:
        """Model, by name -> version, newest first -> status."""
        return {name: self.status(name) for name in sorted(self._models)}

    def status(self, name: str) -> dict[int, VersionStatus]:
        """Version, newest first -> status. Raises: ModelNotFound."""
        versions = self._find(name).newest_first()
        return {version.folder.version: version.status() for version in versions}

    async def close(self) -> None:
        """Refuses new calls, waits for those that hold a handle, unloads everything.

        How long that may take is the caller's matter (`asyncio.timeout`). A load that is under
        way is waited for too: cancel `reconcile` first.
        """
        self._closing = True
        for model in self._models.values():
            self._announce(model)
        async with asyncio.TaskGroup() as group:
            for model in self._models.values():
                group.create_task(self._retire(model))

    async def _drive(self, model: _Model) -> None:
        while await self._unload_all(model):
            async with self._loads:
                # Whoever drains it meanwhile does not hold up the loads of other models.
                if not model.driving.locked():
                    async with model.driving:
                        await self._load_one(model)

    async def _unload_all(self, model: _Model) -> bool:
        """Returns: whether a version is to be loaded then. It waits for its turn without the
        lock, so that the model can be unloaded meanwhile."""
        async with model.driving:
            while not self._closing and (action := model.next_action()):
                if isinstance(action, Load):
                    return True
                await self._unload(model, model.versions[action.number])
                model.observe(model.folder)
            forgotten = not model.versions and not model.folder.problem
            if forgotten and self._models.get(model.name) is model:
                del self._models[model.name]
            return False

    async def _load_one(self, model: _Model) -> None:
        action = model.next_action()  # now, for the disk may have moved on
        if isinstance(action, Load) and not self._closing:
            await self._load(model, model.versions[action.number])
            model.observe(model.folder)

    async def _retire(self, model: _Model) -> None:
        async with model.driving:
            for version in model.newest_first():
                if version.state in (State.READY, State.QUIESCING):
                    await self._unload(model, version)

    async def _load(self, model: _Model, version: ManagedVersion) -> None:
        version.become(State.LOADING)
        began = self._clock()
        try:
            version.loaded = await self._load_folder(version.folder)
        except BaseException as error:
            version.load_seconds = self._clock() - began
            if _ends_us(error):
                version.become(State.NEW)
                raise
            if not isinstance(error, TriptychError):
                logger.exception("%s: an error that no one foresaw", version)
            # The text alone: the error's frames hold what was loaded of the version.
            version.become(State.FAILED, _reason(error))
        else:
            version.load_seconds = self._clock() - began
            version.become(State.READY)
        self._announce(model)

    async def _unload(self, model: _Model, version: ManagedVersion) -> None:
        if version.state is State.READY:
            version.become(State.QUIESCING)
            self._announce(model)
        await version.idle.wait()
        version.become(State.UNLOADING)
        loaded, version.loaded = version.loaded, None
        try:
            if loaded is not None:
                await loaded.close()
        except BaseException as error:
            if _ends_us(error):
                raise
            logger.exception("%s: its memory may be lost", version)
        finally:
            version.become(State.DISABLED)

    def _announce(self, model: _Model) -> None:
        ready = not self._closing and model.newest_ready() is not None
        if ready is not model.announced:
            model.announced = ready
            self._on_change(model.name, ready)

    def _labelled(self, model: _Model, label: str) -> int:
        labels = model.config.labels
        if label in labels:
            number = labels[label]
            version = model.versions.get(number)
            if version is None or version.state is not State.READY:
                state = version.describe() if version else "not in the repository"
                raise ModelUnavailable(
                    f"label {label!r} of model {model.name!r} is version {number}, which is "
                    f"{state}: `version_policy` of model.toml says which versions are loaded"
                )
            return number
        # Clients that know no labels put a version's number here (perf_analyzer).
        if VERSION_NAME.fullmatch(label):
            return int(label)
        known = _list(sorted(labels)) if labels else "none"
        raise LabelNotFound(
            f"model {model.name!r} has no version label {label[:MAX_NAME_CHARACTERS]!r}. It has "
            f"{known}: `labels` of model.toml adds some"
        )

    def _find(self, name: str) -> _Model:
        if name in self._models:
            return self._models[name]
        if not self._models:
            raise ModelNotFound("this server has no models: `triptych export` to its repository")
        short = name[:MAX_NAME_CHARACTERS]  # comparing takes the square of the length
        close = difflib.get_close_matches(short, self._models, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        known = _list(sorted(self._models))
        raise ModelNotFound(f"no model is named {short!r}.{guess} This server has {known}")


def _list(items: Iterable[str]) -> str:
    listed = list(items)
    more = len(listed) - MAX_LISTED
    return ", ".join(listed[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _absent(name: str) -> ModelFolder:
    return ModelFolder(name, None, None, {})


def _ends_us(error: BaseException) -> bool:
    """Whether it was meant for the task, and not of the version that it was at work on."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


def _reason(error: BaseException) -> str:
    if isinstance(error, TriptychError):
        return str(error)
    return f"{type(error).__name__}: {error}"
