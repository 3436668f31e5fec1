"""How many threads may compute: what the machine gives this process, not what it has."""

import os
from collections.abc import Callable
from contextlib import suppress
from math import ceil, inf
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = PurePosixPath()


def thread_budget(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Processors that the scheduler allows, or fewer where a container's CPU quota is smaller.

    A 40-core host with a limit of 4 CPUs gives 4: more threads would be throttled together.
    """
    return max(1, ceil(min(processors(), _quota(cgroups, membership))))


def processors() -> int:
    """That the scheduler allows this process."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1


def _quota(cgroups: Path, membership: Path) -> float:
    """CPUs, by cgroup v2, or else v1; infinite if there is no limit, or none that can be read."""
    v2, v1 = _places(membership)
    return _least(_read_v2, cgroups, v2) or _least(_read_v1, cgroups / "cpu", v1) or inf


def _places(membership: Path) -> tuple[PurePosixPath, PurePosixPath]:
    """Of this process, below the roots of v2 and of v1's hierarchy of processors.

    A container may see its own group as the root, and still be told the host's path, which
    leads nowhere there.
    """
    v2 = v1 = ROOT
    with suppress(OSError):
        for line in membership.read_text(errors="replace").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0" and not controllers:
                v2 = PurePosixPath(path.lstrip("/"))
            elif "cpu" in controllers.split(","):
                v1 = PurePosixPath(path.lstrip("/"))
    return v2, v1


def _least(read: Callable[[Path], float], hierarchy: Path, place: PurePosixPath) -> float | None:
    """The quota of a group binds those below it too. None: not one can be read."""
    found = []
    for group in (place, *place.parents):
        with suppress(OSError, ValueError):
            found.append(read(hierarchy / group))
    return min(found, default=None)


def _read_v2(group: Path) -> float:
    quota, period = (group / "cpu.max").read_text().split()
    return inf if quota == "max" else int(quota) / int(period)


def _read_v1(group: Path) -> float:
    quota_us = int((group / "cpu.cfs_quota_us").read_text())
    period_us = int((group / "cpu.cfs_period_us").read_text())
    return quota_us / period_us if quota_us > 0 else inf
