"""One version as the manager keeps it: its state, what is loaded of it, and who holds that.

When which state follows, `serving.manager` decides; which may follow, `serving.version_policy`.
"""

import asyncio
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from protos.triptych.v1 import manifest_pb2
from serving import version_policy
from serving.repository import VersionFolder
from serving.version_policy import LOADABLE, State

if TYPE_CHECKING:
    from serving.batcher import Batcher
    from serving.runtime.opening import Report
    from serving.runtime.servable import Servable
    from serving.statistics import VersionStatistics

logger = logging.getLogger(__name__)

MAX_REASON_CHARACTERS = 1_000  # libraries put whole graphs into their errors

CHANGED = "changed on disk since it was loaded: publish a new version instead"
DELETED = "deleted from disk: it serves until another version is ready"
RECONFIGURED = (
    "model.toml was changed since it was loaded: its batching, executor, precision and limits "
    "count once the version is loaded again"
)
UNLOADED = "unloaded on request: it stays so until it is loaded on request, or a restart"


class Loaded(Protocol):
    """A version in memory, as the manager's `load` returns it."""

    @property
    def servable(self) -> "Servable": ...
    @property
    def batcher(self) -> "Batcher": ...
    @property
    def statistics(self) -> "VersionStatistics": ...
    async def close(self) -> None: ...


@dataclass(frozen=True)
class VersionStatus:
    """What a manager says of a version at one moment. Not to be kept: it keeps the servable.

    reason:       why it failed, waits, or wants a look; mostly empty.
    load_seconds: that its last load took, be it in vain; 0 before the first.
    servable:     None unless it is loaded.
    """

    version: int
    state: State
    reason: str
    load_seconds: float
    servable: "Servable | None"

    def __str__(self) -> str:
        """As "3 FAILED (reason)"."""
        return f"{self.version} {described(self.state, self.reason)}"

    @property
    def executor_name(self) -> str:
        return self.servable.executor_name if self.servable else ""

    @property
    def precision(self) -> str:
        return self.servable.precision if self.servable else ""

    @property
    def manifest(self) -> manifest_pb2.Manifest | None:
        """None for a foreign SavedModel too."""
        return self.servable.manifest if self.servable else None

    @property
    def report(self) -> "Report | None":
        """What was measured when it was loaded."""
        return self.servable.report if self.servable else None


class ManagedVersion:
    """The state of one version, what is loaded of it, and how many handles hold that."""

    def __init__(self, folder: VersionFolder) -> None:
        self.folder = folder  # as last seen until it is loaded or refused, then as it was
        self.state = State.NEW
        self.reason = ""
        self.load_seconds = 0.0
        self.loaded: Loaded | None = None
        self.handles = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def __str__(self) -> str:
        return f"model {self.folder.name!r} version {self.folder.version}"

    def become(self, state: State, reason: str = "") -> None:
        self.state = version_policy.transition(self.state, state)
        self.reason = reason[:MAX_REASON_CHARACTERS]
        level = logging.ERROR if state is State.FAILED else logging.INFO
        logger.log(level, "%s: %s", self, self.describe())

    def observe(self, folder: VersionFolder | None, *, wanted: bool, problem: str | None) -> None:
        """Takes note of what is on disk now, and of what is wrong with the model's settings."""
        before = self.folder
        changed = folder is not None and folder.fingerprint != before.fingerprint
        touched = folder is not None and folder.stamp != before.stamp
        reconfigured = folder is not None and folder.config.loading != before.config.loading
        # Rights that were missing may be there now: trying costs a load, not trying the version.
        if self.state is State.FAILED and (changed or touched or reconfigured):
            self.become(State.NEW)
        if self.state in LOADABLE and folder is not None:
            self.folder = folder
            if not wanted:
                self._note(UNLOADED, logging.INFO)
            else:
                level = logging.INFO if folder.settling else logging.WARNING
                self._note(folder.problem or "", level)
        elif self.state is State.READY:
            # It is not swapped for the new content: two models would share one number.
            stale = DELETED if folder is None else CHANGED if changed else ""
            self._note(stale or problem or (RECONFIGURED if reconfigured else ""))

    def describe(self) -> str:
        return described(self.state, self.reason)

    def status(self) -> VersionStatus:
        servable = self.loaded.servable if self.loaded else None
        return VersionStatus(
            self.folder.version, self.state, self.reason, self.load_seconds, servable
        )

    def _note(self, reason: str, level: int = logging.WARNING) -> None:
        reason = reason[:MAX_REASON_CHARACTERS]
        if reason and reason != self.reason:
            logger.log(level, "%s: %s", self, reason)
        self.reason = reason


class Handle:
    """A version that stays loaded until the `with` block ends, whatever is published meanwhile."""

    def __init__(self, version: ManagedVersion, loaded: Loaded) -> None:
        self.name = version.folder.name
        self.version = version.folder.version
        self.loaded = loaded
        self._pinned: ManagedVersion | None = version
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


def described(state: State, reason: str) -> str:
    return f"{state.name} ({reason})" if reason else state.name
