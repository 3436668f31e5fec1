"""The most memory that a process and those that it started hold together, watched while it runs."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

SECONDS = 2.0  # between looks: each takes some milliseconds of the kernel


class Watch:
    """Proportional set size (proc_pid_smaps(5)): a page that several share counts once in all."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS):
            held = sum(map(_proportional_bytes, _family(self._pid)))
            self.peak_bytes = max(self.peak_bytes, held)


def _family(pid: int) -> list[int]:
    found = [pid]
    with suppress(OSError):  # one that has ended
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text()
            for child in children.split():
                found += _family(int(child))
    return found


def _proportional_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
