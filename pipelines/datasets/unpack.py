"""Writes a folder once, under a temporary name, and renames it when it is complete."""

import shutil
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DatasetError


@contextmanager
def write_once(target: Path) -> Iterator[Path]:
    """A new folder to fill: it becomes `target`, or is removed if something fails.

    Raises: DatasetError if it can't be written, or what fills it reads a damaged archive.
    """
    unfinished = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        try:
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():  # else another process has just finished the same
                raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DatasetError(
            f"cannot unpack into {target}: {error}; the archive is damaged, download it again"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"cannot fill {target}: {error}; is the copy complete, and may you write there?"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def extract_tar(archive: Path, target: Path) -> Path:
    """Unpacks a whole tar archive to `target`, unless that is there.  Nothing lands outside it."""
    if not target.is_dir():
        with write_once(target) as unfinished, tarfile.open(archive) as tar:
            tar.extractall(unfinished, filter="data")
    return target
