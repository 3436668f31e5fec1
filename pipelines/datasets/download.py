"""Fetches a data set's original files by HTTP, each checked against its published checksum.

A file has its name only when it is complete and checked: pooch writes it under a temporary name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pooch
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .errors import DatasetError

CHUNK_BYTES = 2**18


class Original(NamedTuple):
    url: str
    checksum: str  # "sha256:..." or "md5:..."

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def download(name: str, originals: Sequence[Original], folder: Path) -> Path:
    """Brings those files that are missing.  Returns the folder.

    Raises: DatasetError if one can't be fetched, or isn't what was published.
    """
    missing = [o for o in originals if not (folder / o.file_name).is_file()]
    if not missing:
        return folder
    pooch.get_logger().setLevel("ERROR")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn()) as progress:
        for original in missing:
            bar = _Bar(progress, progress.add_task(original.file_name, total=None))
            try:
                pooch.retrieve(
                    original.url,
                    known_hash=original.checksum,
                    fname=original.file_name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK_BYTES),
                )
                (folder / original.file_name).chmod(0o644)  # pooch's temporary files are private
            except (ValueError, OSError) as error:
                addresses = ", ".join(o.url for o in originals)
                raise DatasetError(
                    f"cannot download {name} from {original.url}: {error}. By hand: put the files "
                    f"of {addresses} into a folder, and name it with --data-dir"
                ) from error
    return folder


class _Bar:
    """What pooch asks of a progress bar, drawn by rich."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def _set_total(self, count_bytes: int) -> None:
        self._progress.update(self._task, total=count_bytes or None)  # 0: the server doesn't say

    total = property(fset=_set_total)

    def update(self, count_bytes: int) -> None:
        self._progress.advance(self._task, count_bytes)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        pass
