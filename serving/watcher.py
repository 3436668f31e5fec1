"""Follows the model repository, and does what clients ask of it: load, unload, reload.

What a folder holds is `serving.repository`'s matter, and the states of versions are
`serving.manager`'s. What clients asked for is kept here, and is gone after a restart.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from serving.errors import BadVersion, ModelNotFound, ModelUnavailable, RepositoryError
from serving.manager import Manager
from serving.model_config import ModelConfig
from serving.repository import ModelFolder, Snapshot, scan
from serving.version_policy import Policy, Specific, State

logger = logging.getLogger(__name__)

MAX_SETTLE_SECONDS = 1.0  # for which a foreign version must have been left alone


@dataclass(frozen=True)
class ModelOverride:
    """What a client wants of a model, instead of its model.toml. None: as that says."""

    version_policy: Policy | None = None
    labels: Mapping[str, int] | None = None


class IndexEntry(NamedTuple):
    name: str
    version: int
    state: State
    reason: str


class Failure(NamedTuple):
    """version: None if the repository has no such model."""

    name: str
    version: int | None
    reason: str

    def __str__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        return f"model {self.name!r}{version}: {self.reason}"


class ReloadFailed(BadVersion):
    """The rest of what was asked for was done."""

    def __init__(self, failures: Collection[Failure]) -> None:
        super().__init__("; ".join(map(str, failures)))
        self.failures = tuple(failures)


class LabelRefused(ModelUnavailable):
    """A label of a version that is not ready; nothing was changed."""

    def __init__(self, name: str, label: str, version: int) -> None:
        super().__init__(
            f"label {label!r} of model {name!r} cannot be version {version}, which is not ready: "
            "load it first, and set the label then"
        )
        self.name, self.label, self.version = name, label, version


class Watcher:
    """`start` and `stop` follow the repository by polling; the rest is for the impatient.

    Args: shared: other servers answer on the same port. Then clients may not load, unload or
                  reload, as their call reaches one server only.
    """

    def __init__(
        self, repository: Path, manager: Manager, poll_seconds: float, *, shared: bool = False
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._poll_seconds = poll_seconds
        self._shared = shared
        self._settle_seconds = min(poll_seconds, MAX_SETTLE_SECONDS)
        self._found: Snapshot | None = None
        self._looking = asyncio.Lock()  # so that an older scan never replaces a newer one
        self._unloaded: set[str] = set()
        self._wanted: dict[str, ModelOverride] | None = None  # None: every model, as it says
        self._followed: Snapshot | None = None  # None: to be followed again
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._spawn(self._poll())

    async def stop(self) -> None:
        """Gives up what is under way. Those who wait for it are told that the server is ending."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def rescan(self) -> None:
        """Looks at the repository now, and returns once what it asks for is done.

        Raises: RepositoryError if it cannot be listed.
        """
        await self._look()
        await self._settle(None)

    async def load(self, name: str) -> None:
        """Loads what the model's policy asks for, after an unload too, and what failed again.

        Raises: ModelNotFound; RepositoryError; BadVersion, with every version's reason, if none
                of them is ready then; ModelUnavailable if the port is shared.
        """
        self._require_alone("put the model into it")
        found = await self._look()
        if name not in found:
            self._manager.status(name)
            raise ModelNotFound(f"model {name!r} was deleted from the repository")
        self._unloaded.discard(name)
        if self._wanted is not None:
            self._wanted.setdefault(name, ModelOverride())
        self._apply(found)
        self._manager.retry(name)
        await self._settle([name])
        if failures := self._failures(name):
            raise BadVersion("; ".join(map(str, failures)))

    async def unload(self, name: str) -> None:
        """Drains and unloads every version. It stays unloaded until `load` or `reload`.

        Raises: ModelNotFound; RepositoryError; ModelUnavailable if the port is shared.
        """
        self._require_alone("take the model out of it")
        found = await self._look() if self._found is None else self._found
        self._manager.status(name)
        self._unloaded.add(name)
        self._apply(found)
        await self._finish(self._manager.drive([name]))

    async def reload(self, wanted: Mapping[str, ModelOverride]) -> None:
        """Serves these models and no others, until the next reload or restart.

        Raises: RepositoryError; LabelRefused, before anything is changed; ReloadFailed, with
                every reason, if a model has no version that is ready then, or not one that its
                policy names; ModelUnavailable if the port is shared.
        """
        self._require_alone("change its folders and each model.toml")
        found = await self._look()
        for name, override in wanted.items():
            self._check_labels(name, override.labels or {})
        self._wanted = dict(wanted)
        self._unloaded.clear()
        self._apply(found)
        for name in wanted.keys() & found.keys():
            self._manager.retry(name)
        await self._settle(None)
        failures = [failure for name in sorted(wanted) for failure in self._failures(name)]
        if failures:
            raise ReloadFailed(failures)

    def index(self) -> list[IndexEntry]:
        """Every version that is in the repository or in memory, by name, the newest first."""
        return [
            IndexEntry(name, number, status.state, status.reason)
            for name, versions in self._manager.models().items()
            for number, status in versions.items()
        ]

    def _require_alone(self, instead: str) -> None:
        if self._shared:
            raise ModelUnavailable(
                "a call reaches one of the workers that share this port, and would change that "
                f"one alone. All of them follow the repository: {instead}, or serve with "
                "--workers 1"
            )

    async def _poll(self) -> None:
        """A slow load or drain of one model holds up no other."""
        complaint = ""
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                found = await self._look()
            except Exception as error:
                if str(error) != complaint:
                    logger.error(
                        "%s What is loaded goes on serving",
                        error,
                        exc_info=not isinstance(error, RepositoryError),
                    )
                complaint = str(error)
                continue
            complaint = ""
            if found != self._followed:
                self._followed = found
                self._spawn(self._follow())

    async def _follow(self) -> None:
        try:
            await self._manager.drive()
        except Exception:
            logger.exception("the repository could not be followed, and will be again")
            self._followed = None

    async def _look(self) -> Snapshot:
        async with self._looking:
            found = await asyncio.to_thread(
                scan, self._repository, self._found, settle_seconds=self._settle_seconds
            )
            self._found = found
            self._apply(found)
            return found

    def _apply(self, found: Snapshot) -> None:
        self._manager.observe({name: self._effective(folder) for name, folder in found.items()})

    def _effective(self, folder: ModelFolder) -> ModelFolder:
        """What is on disk, as clients want it."""
        name, config = folder.name, folder.config
        if name in self._unloaded or (self._wanted is not None and name not in self._wanted):
            return replace(folder, wanted=False)
        override = (self._wanted or {}).get(name, ModelOverride())
        return replace(folder, config=_overridden(config, override) if config else None)

    async def _settle(self, names: Collection[str] | None) -> None:
        """Drives these models, or all, and waits for those that may still be on their way."""
        await self._finish(self._manager.drive(names))
        found = self._found or {}
        if any(
            version.settling
            for name, folder in found.items()
            for version in folder.versions.values()
            if names is None or name in names
        ):
            await asyncio.sleep(self._settle_seconds)
            await self._look()
            await self._finish(self._manager.drive(names))

    def _check_labels(self, name: str, labels: Mapping[str, int]) -> None:
        known = self._manager.models().get(name, {}) if labels else {}
        for label, version in labels.items():
            if version not in known or known[version].state is not State.READY:
                raise LabelRefused(name, label, version)

    def _failures(self, name: str) -> list[Failure]:
        """Why the model does not serve what it should; empty if it does."""
        folder = (self._found or {}).get(name)
        if folder is None:
            return [Failure(name, None, "the repository has no model of this name")]
        versions = self._manager.models().get(name, {})
        if not versions and folder.problem:
            return [Failure(name, None, folder.problem)]
        config = self._effective(folder).config
        missing: Collection[int] = versions
        if config is not None and isinstance(config.version_policy, Specific):
            missing = sorted(config.version_policy.numbers)
        elif any(status.state is State.READY for status in versions.values()):
            return []
        failures = []
        for number in missing:
            status = versions.get(number)
            if status is None:
                failures.append(Failure(name, number, "it is not in the repository"))
            elif status.state is not State.READY:
                reason = status.reason or f"it is {status.state.name}"
                failures.append(Failure(name, number, reason))
        return failures

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Waits for it; a caller that leaves meanwhile leaves nothing half done."""
        task = self._spawn(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise ModelUnavailable("the server is ending: send the call to another") from None
            raise

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _overridden(config: ModelConfig, override: ModelOverride) -> ModelConfig:
    changes = {"version_policy": override.version_policy, "labels": override.labels}
    return config.model_copy(
        update={name: value for name, value in changes.items() if value is not None}
    )
