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
