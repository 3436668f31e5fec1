"""How many threads may compute: what the machine gives this process, not what it has."""

import os
from contextlib import suppress
from math import ceil
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def thread_budget(cgroups: Path = CGROUPS) -> int:
    """Processors that the scheduler allows, or fewer where a container's CPU quota is smaller.

    A 40-core host with a limit of 4 CPUs gives 4: more threads would be throttled together.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroups)
    return max(1, min(allowed or 1, ceil(quota) if quota else allowed or 1))


def _quota(cgroups: Path) -> float | None:
    """CPUs; None if there is no limit, or none that can be read."""
    with suppress(OSError, ValueError):
        quota, period = (cgroups / "cpu.max").read_text().split()  # cgroup v2
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((cgroups / "cpu/cpu.cfs_quota_us").read_text())  # v1
        period_us = int((cgroups / "cpu/cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    return None
