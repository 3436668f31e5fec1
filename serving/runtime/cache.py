"""What a machine need not work out twice: compiled models, and which executor was the faster.

Private to its owner, as what is read from it is run. Losing it costs time, and nothing else.
"""

import fcntl
import logging
import os
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

MAX_BYTES = 2 * 2**30


class Cache:
    """
    folder: None if nothing is kept: it was not wished for, or the folder is of no use.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder if folder is not None and _is_private(folder) else None

    def read(self, key: str) -> bytes | None:
        if self.folder is None:
            return None
        path = self._path(key)
        with suppress(OSError):
            data = path.read_bytes()
            os.utime(path)  # as the oldest are thrown away first
            return data
        return None

    def file(self, key: str) -> Path | None:
        """Where it lies, for a library that reads files itself."""
        if self.folder is None:
            return None
        path = self._path(key)
        with suppress(OSError):
            os.utime(path)
            return path
        return None

    def write(self, key: str, data: bytes) -> None:
        if self.folder is None:
            return
        temporary = None
        try:
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".")
            with open(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, self._path(key))
            self._prune()
        except OSError as error:
            logger.warning("nothing is kept in %s: %s", self.folder, error.strerror)
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            self.folder = None

    def claim(self, key: str) -> BinaryIO | None:
        """Who has it may work out what all want who use the folder, until it is closed, or its
        process has ended. None if another has it. Raises: OSError."""
        file = self._path(f"claim {key}").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / sha256(key.encode()).hexdigest()

    def _prune(self) -> None:
        assert self.folder is not None
        found = []
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):  # another server uses the folder too
                if entry.is_file():
                    found.append((entry, entry.stat()))
        total = sum(status.st_size for _, status in found)
        for entry, status in sorted(found, key=lambda pair: pair[1].st_mtime):
            if total <= MAX_BYTES:
                break
            Path(entry.path).unlink(missing_ok=True)
            total -= status.st_size


def _is_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            logger.warning("%s is not used: others may write into it", folder)
            return False
    except OSError as error:
        logger.warning("nothing is kept in %s: %s", folder, error.strerror)
        return False
    return True
