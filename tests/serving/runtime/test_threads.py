"""The thread budget is what the machine gives this process, by affinity and by cgroup."""

import os
from pathlib import Path

import pytest

from serving.runtime.threads import thread_budget

MANY = 40  # processors of the host


@pytest.fixture(autouse=True)
def _large_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(MANY)))


def cgroup(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / {"v2": "cpu.max", "quota": "cpu/cpu.cfs_quota_us"}.get(
            name, "cpu/cpu.cfs_period_us"
        )
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"v2": "400000 100000\n"}, 4),
        ({"v2": "150000 100000\n"}, 2),  # a half is worth a thread
        ({"v2": "50000 100000\n"}, 1),
        ({"v2": "9900000 100000\n"}, MANY),
        ({"v2": "max 100000\n"}, MANY),
        ({"quota": "200000\n", "period": "100000\n"}, 2),
        ({"quota": "-1\n", "period": "100000\n"}, MANY),
        ({"v2": "max 100000\n", "quota": "200000\n", "period": "100000\n"}, MANY),
        ({"v2": "what is this\n"}, MANY),
        ({"v2": "\n", "quota": "300000\n", "period": "100000\n"}, 3),
        ({"quota": "200000\n"}, MANY),
        ({}, MANY),
    ],
)
def test_the_quota_of_the_cgroup(tmp_path: Path, files: dict[str, str], threads: int) -> None:
    assert thread_budget(cgroup(tmp_path, **files)) == threads


def test_the_processors_that_the_scheduler_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7})
    assert thread_budget(tmp_path) == 2
    assert thread_budget(cgroup(tmp_path, v2="100000 100000")) == 1


def test_where_there_is_no_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert thread_budget(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_budget(tmp_path) == 1


def nested(cgroups: Path, path: str, quota: str, period: str = "") -> None:
    """v2, or with a period v1."""
    folder = cgroups / ("cpu" if period else "") / path
    folder.mkdir(parents=True, exist_ok=True)
    if period:
        (folder / "cpu.cfs_quota_us").write_text(quota)
        (folder / "cpu.cfs_period_us").write_text(period)
    else:
        (folder / "cpu.max").write_text(quota)


UNIFIED = "0::/system.slice/triptych.service\n"
SPLIT = "12:pids:/elsewhere\n4:cpu,cpuacct:/kubepods/pod7/c1\n0::/system.slice/other\n"


@pytest.mark.parametrize(
    ("membership", "quotas", "threads"),
    [
        (UNIFIED, {"system.slice/triptych.service": "300000 100000"}, 3),
        (UNIFIED, {"system.slice": "200000 100000"}, 2),
        (UNIFIED, {".": "500000 100000", "system.slice/triptych.service": "max 100000"}, 5),
        (
            UNIFIED,
            {
                ".": "900000 100000",
                "system.slice": "200000 100000",
                "system.slice/triptych.service": "400000 100000",
            },
            2,
        ),
        (UNIFIED, {"system.slice/other.service": "100000 100000"}, MANY),
        ("0::/../../elsewhere\n", {".": "600000 100000"}, 6),
        ("what is this\n", {".": "600000 100000"}, 6),
    ],
)
def test_the_least_quota_on_the_way_to_the_root(
    tmp_path: Path, membership: str, quotas: dict[str, str], threads: int
) -> None:
    cgroups = tmp_path / "cgroup"
    for path, quota in quotas.items():
        nested(cgroups, path, quota)
    (tmp_path / "self").write_text(membership)
    assert thread_budget(cgroups, tmp_path / "self") == threads


def test_the_first_version_has_a_path_for_each_controller(tmp_path: Path) -> None:
    (tmp_path / "self").write_text(SPLIT)
    nested(tmp_path, ".", "-1", "100000")
    nested(tmp_path, "kubepods/pod7", "700000", "100000")
    nested(tmp_path, "elsewhere", "100000", "100000")
    assert thread_budget(tmp_path, tmp_path / "self") == 7
    nested(tmp_path, "kubepods/pod7/c1", "150000", "50000")
    assert thread_budget(tmp_path, tmp_path / "self") == 3
