"""Files on this machine and behind URLs: found, and read within limits.

URLs are opened by pyarrow's own file systems (s3, gs, hdfs, file), or by fsspec's for what these
don't know. Credentials and endpoints are where those look for them: in the environment.
"""

import os
import re
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa
from pyarrow import fs

from pipelines.batch.errors import BatchError
from serving.errors import InvalidInput
from serving.runtime.decoding import Limits, too_large

URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://([^/]*)/?(.*)", re.DOTALL)


class File(NamedTuple):
    """path: as it can be read again; stamp: another one once it was changed."""

    path: str
    size: int
    stamp: int


def is_url(path: str) -> bool:
    return URL.fullmatch(path) is not None


def resolve(url: str) -> tuple[fs.FileSystem, str]:
    """The file system, and where in it. Raises: BatchError if nothing here can open such URLs."""
    found = URL.fullmatch(url)
    if not found:
        return fs.LocalFileSystem(), os.path.abspath(url)
    scheme, place, rest = found.groups()
    files, base = _filesystem(scheme.lower(), place)
    return files, f"{base.rstrip('/')}/{rest}" if rest else base


@lru_cache(maxsize=64)
def _filesystem(scheme: str, place: str) -> tuple[fs.FileSystem, str]:
    root = f"{scheme}://{place}"
    try:
        return fs.FileSystem.from_uri(root)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as unknown:
        from fsspec.core import url_to_fs

        try:
            files, path = url_to_fs(root)
        except (ImportError, ValueError) as error:
            raise BatchError(f"{root} cannot be opened: {unknown}; {error}") from error
        return fs.PyFileSystem(fs.FSSpecHandler(files)), path


def describe(path: str) -> File | None:
    """None: it is not there, or is no file. Raises: OSError if that cannot be told."""
    if not is_url(path):
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return File(path, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
    files, place = resolve(path)
    info = files.get_file_info(place)
    return File(path, info.size or 0, _stamp(info)) if info.is_file else None


def is_folder(path: str) -> bool:
    if not is_url(path):
        return os.path.isdir(path)
    files, place = resolve(path)
    info: fs.FileInfo = files.get_file_info(place)
    return bool(info.type == fs.FileType.Directory)


def walk(folder: str) -> Iterator[File]:
    """Every visible file below it, by name, folder by folder.

    A link is followed only if it ends inside the folder; of links in a circle, once.
    """
    if is_url(folder):
        yield from _walk_remote(folder)
    else:
        yield from _walk(folder, os.path.realpath(folder), frozenset())


def _walk(folder: str, root: str, above: frozenset[str]) -> Iterator[File]:
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in visible:
        try:
            if entry.is_symlink() and not _inside(os.path.realpath(entry.path), root):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, root, above | {real})
            elif entry.is_file():
                found = entry.stat()
                yield File(entry.path, found.st_size, found.st_mtime_ns)
        except FileNotFoundError:  # it went while we looked, or is a link to nothing
            continue


def _walk_remote(folder: str) -> Iterator[File]:
    files, place = resolve(folder)
    url = folder.rstrip("/")
    found = files.get_file_info(fs.FileSelector(place, recursive=True))
    base = place.rstrip("/") + "/"
    for info in sorted(found, key=lambda info: info.path):
        inside = info.path.removeprefix(base)
        if info.is_file and not any(part.startswith(".") for part in inside.split("/")):
            yield File(f"{url}/{inside}", info.size or 0, _stamp(info))


def _stamp(info: fs.FileInfo) -> int:
    return info.mtime_ns if info.mtime_ns is not None else 0


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def below(root: str, path: str) -> str:
    """`path`, as a list says it, below `root`. Raises: InvalidInput if it leads out of it."""
    if is_url(root):
        full = path if is_url(path) else f"{root.rstrip('/')}/{path.lstrip('/')}"
        if ".." not in full.split("/") and full.startswith(root.rstrip("/") + "/"):
            return full
    elif not is_url(path) and "\0" not in path:
        full = os.path.join(root, path)
        # Once as it is written, and once through the links that it may lead through.
        if _inside(os.path.abspath(full), os.path.abspath(root)) and _inside(
            _real_file(full), _real_folder(root)
        ):
            return full
    raise InvalidInput(
        f"{path!r} is outside of {root}, below which this list may name files: give another --root"
    )


def _real_file(path: str) -> str:
    if os.path.islink(path) or os.path.basename(path) in ("", ".", ".."):
        return os.path.realpath(path)
    return os.path.join(_real_folder(os.path.dirname(path)), os.path.basename(path))


@lru_cache(maxsize=4096)  # as a call looks at each folder above it, and a list has many neighbours
def _real_folder(path: str) -> str:
    return os.path.realpath(path)


def read(path: str, limits: Limits, offset: int | None = None, size: int = 0) -> bytes:
    """A file, or `size` bytes of it from `offset` on.

    Raises: InvalidInput if it cannot be read, or is larger than an input may be.
    """
    try:
        if is_url(path):
            return _read_remote(path, limits, offset, size)
        # A pipe must not wait for somebody to write.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidInput("it is no file")
            if offset is None:
                _require(found.st_size, limits)
                return file.readall()
            _require(size, limits)
            return os.pread(descriptor, size, offset)
    except FileNotFoundError:
        raise InvalidInput("there is no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"it cannot be read: {reason}") from error


def _read_remote(path: str, limits: Limits, offset: int | None, size: int) -> bytes:
    files, place = resolve(path)
    with files.open_input_file(place) as file:
        if offset is None:
            offset, size = 0, file.size()
        _require(size, limits)
        return file.read_at(size, offset)


def _require(size: int, limits: Limits) -> None:
    if size > limits.max_input_bytes:
        raise too_large(size, limits)


def open_stream(path: str) -> IO[bytes]:
    """From its beginning, uncompressed where its name says that it is not (.gz, .zst, .bz2)."""
    files, place = resolve(path)
    return files.open_input_stream(place, compression="detect")


def open_random(path: str) -> IO[bytes]:
    files, place = resolve(path)
    return files.open_input_file(place)


def extension(path: str) -> str:
    """In lower case, and of what is inside where it is compressed."""
    name = Path(path.rpartition("/")[2])
    if name.suffix.lower() in (".gz", ".bz2", ".zst"):
        name = Path(name.stem)
    return name.suffix.lower()
