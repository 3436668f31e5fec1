"""Keeps the right versions loaded, and pins one for each call that uses it. asyncio, one loop.

What is on disk comes from `serving.repository`, what to do next from `serving.version_policy`,
and how to load from the caller. Nothing here knows what a model computes.
"""

import asyncio
import difflib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from protos.triptych.v1 import manifest_pb2
from serving import version_policy
from serving.errors import ModelNotFound, ModelUnavailable, TriptychError
from serving.repository import VersionFolder
from serving.version_policy import LOADABLE, Load, State, Unload

if TYPE_CHECKING:
    from serving.batcher import Batcher
    from serving.runtime.servable import Servable

logger = logging.getLogger(__name__)

MAX_LISTED = 20  # names or versions in an error message
MAX_NAME_CHARACTERS = 100  # of a name that a message repeats, or that is compared with others

CHANGED = "changed on disk since it was loaded: publish a new version instead"
DELETED = "deleted from disk: it serves until another version is ready"


class Loaded(Protocol):
    """A version in memory, as the caller's `load` returns it."""

    @property
    def servable(self) -> "Servable": ...
    @property
    def batcher(self) -> "Batcher": ...
    async def close(self) -> None: ...


@dataclass(frozen=True)
class VersionStatus:
    """What a manager says of a version.

    reason:                  why it failed, waits, or wants a look; mostly empty.
    executor_name, manifest: empty and None unless it is loaded.
    """

    version: int
    state: State
    reason: str
    executor_name: str
    manifest: manifest_pb2.Manifest | None


class _Version:
    """The state of one version, what is loaded of it, and how many handles hold that."""

    def __init__(self, folder: VersionFolder) -> None:
        self.folder = folder  # as last seen until it is loaded or refused, then as it was
        self.state = State.NEW
        self.reason = ""
        self.loaded: Loaded | None = None
        self.handles = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def __str__(self) -> str:
        return f"model {self.folder.name!r} version {self.folder.version}"

    def become(self, state: State, reason: str = "") -> None:
        self.state = version_policy.transition(self.state, state)
        self.reason = reason
        level = logging.ERROR if state is State.FAILED else logging.INFO
        logger.log(level, "%s: %s", self, self.describe())

    def observe(self, folder: VersionFolder | None) -> None:
        """Takes note of what is on disk now."""
        changed = folder is not None and folder.fingerprint != self.folder.fingerprint
        if self.state is State.FAILED and changed:
            self.become(State.NEW)
        if self.state in LOADABLE and folder is not None:
            self.folder = folder
            self._note(folder.problem or "")
        elif self.state is State.READY:
            # It is not swapped for the new content: two models would share one number.
            self._note(DELETED if folder is None else CHANGED if changed else "")

    def describe(self) -> str:
        return f"{self.state.name} ({self.reason})" if self.reason else self.state.name

    def status(self) -> VersionStatus:
        servable = self.loaded.servable if self.loaded else None
        return VersionStatus(
            version=self.folder.version,
            state=self.state,
            reason=self.reason,
            executor_name=servable.executor_name if servable else "",
            manifest=servable.manifest if servable else None,
        )

    def _note(self, reason: str) -> None:
        if reason and reason != self.reason:
            logger.warning("%s: %s", self, reason)
        self.reason = reason


class _Model:
    """The versions of one model, and the folders that they were last seen in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folders: Mapping[int, VersionFolder] = {}
        self.versions: dict[int, _Version] = {}
        self.driving = asyncio.Lock()  # who holds it changes states; everyone else reads them
        self.announced: bool | None = None

    def observe(self, folders: Mapping[int, VersionFolder]) -> None:
        self.folders = folders
        for number, folder in folders.items():
            if number not in self.versions:
                self.versions[number] = _Version(folder)
        for number, version in list(self.versions.items()):
            version.observe(folders.get(number))
            if number not in folders and version.state in LOADABLE | {State.FAILED}:
                del self.versions[number]

    def next_action(self) -> Load | Unload | None:
        seen = [
            version_policy.Version(
                number,
                version.state,
                on_disk=number in self.folders,
                complete=number in self.folders and self.folders[number].problem is None,
            )
            for number, version in self.versions.items()
        ]
        return version_policy.next_action(seen, aspired=version_policy.latest(seen))

    def newest_ready(self) -> _Version | None:
        ready = [n for n, version in self.versions.items() if version.state is State.READY]
        return self.versions[max(ready)] if ready else None

    def newest_first(self) -> list[_Version]:
        return [self.versions[number] for number in sorted(self.versions, reverse=True)]


class Handle:
    """A version that stays loaded until the `with` block ends, whatever is published meanwhile."""

    def __init__(self, version: _Version, loaded: Loaded) -> None:
        self.name = version.folder.name
        self.version = version.folder.version
        self.loaded = loaded
        self._pinned: _Version | None = version
        version.handles += 1
        version.idle.clear()

    def release(self) -> None:
        """Ends the pin, once; a second call does nothing."""
        pinned, self._pinned = self._pinned, None
        if pinned is not None:
            pinned.handles -= 1
            if not pinned.handles:
                pinned.idle.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Manager:
    """The models of one repository.

    Args:
        load: makes a version ready to answer: loaded, checked, warmed up. What it raises
            becomes the version's reason, and it is not tried again until its folder changes.
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
    ) -> None:
        self._load_folder = load
        self._on_change = on_change
        self._loads = asyncio.Semaphore(max_concurrent_loads)
        self._models: dict[str, _Model] = {}
        self._closing = False

    async def reconcile(self, snapshot: Mapping[str, Mapping[int, VersionFolder]]) -> None:
        """Loads and unloads until all is as the snapshot asks, models side by side.

        Calls may overlap: the newest snapshot counts, and nothing is loaded twice. A call that
        is cancelled leaves what it was loading New and what it was draining Quiescing; the next
        one goes on from there.
        """
        if self._closing:
            return
        for name in sorted(self._models.keys() | snapshot.keys()):
            model = self._models.setdefault(name, _Model(name))
            model.observe(snapshot.get(name, {}))
            self._announce(model)
        async with asyncio.TaskGroup() as group:
            for model in self._models.values():
                group.create_task(self._drive(model))

    def acquire(self, name: str, version: int | None = None) -> Handle:
        """Pins a version. None: the newest that is ready.

        Raises: ModelNotFound for a name or version that the repository does not have.
                ModelUnavailable for one that cannot answer now, with its state and reason.
        """
        if self._closing:
            raise ModelUnavailable("the server is ending: send the call to another one")
        model = self._find(name)
        newest = model.newest_ready()
        if version is not None and version not in model.versions:
            numbers = _list(str(known.folder.version) for known in model.newest_first())
            raise ModelNotFound(f"model {name!r} has no version {version}. It has {numbers}")
        wanted = newest if version is None else model.versions[version]
        if wanted is None:
            states = _list(f"{v.folder.version} {v.describe()}" for v in model.newest_first())
            raise ModelUnavailable(f"model {name!r} has no version that is ready: {states}")
        if wanted.state is not State.READY or wanted.loaded is None:
            ready = f"version {newest.folder.version} is" if newest else "no version is"
            raise ModelUnavailable(f"{wanted} is {wanted.describe()}; {ready} ready")
        return Handle(wanted, wanted.loaded)

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
        async with model.driving:
            while not self._closing and (action := model.next_action()):
                match action:
                    case Load():
                        async with self._loads:
                            # The disk may have moved on while this load waited for its turn.
                            if not self._closing and model.next_action() == action:
                                await self._load(model, model.versions[action.number])
                    case Unload():
                        await self._unload(model, model.versions[action.number])
                model.observe(model.folders)
            if not model.versions and self._models.get(model.name) is model:
                del self._models[model.name]

    async def _retire(self, model: _Model) -> None:
        async with model.driving:
            for version in model.newest_first():
                if version.state in (State.READY, State.QUIESCING):
                    await self._unload(model, version)

    async def _load(self, model: _Model, version: _Version) -> None:
        version.become(State.LOADING)
        try:
            version.loaded = await self._load_folder(version.folder)
        except TriptychError as error:
            version.become(State.FAILED, str(error))
        except Exception as error:
            logger.exception("%s: an error that no one foresaw", version)
            version.become(State.FAILED, f"{type(error).__name__}: {error}")
        except BaseException:  # cancelled
            version.become(State.NEW)
            raise
        else:
            version.become(State.READY)
        self._announce(model)

    async def _unload(self, model: _Model, version: _Version) -> None:
        if version.state is State.READY:
            version.become(State.QUIESCING)
            self._announce(model)
        await version.idle.wait()
        version.become(State.UNLOADING)
        loaded, version.loaded = version.loaded, None
        reason = ""
        try:
            if loaded is not None:
                await loaded.close()
        except Exception as error:
            logger.exception("%s: its memory may be lost", version)
            reason = f"unloading raised {type(error).__name__}: {error}"
        finally:
            version.become(State.DISABLED, reason)

    def _announce(self, model: _Model) -> None:
        ready = not self._closing and model.newest_ready() is not None
        if ready is not model.announced:
            model.announced = ready
            self._on_change(model.name, ready)

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
