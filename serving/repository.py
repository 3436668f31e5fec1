"""What a model repository holds, and which of its versions are whole: ROOT/NAME/VERSION/.

Reads names, sizes, times and manifests, nothing else. Digests and golden inputs are checked on
load (`serving.runtime.servable`); which version to serve is `serving.version_policy`'s matter.
"""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from google.protobuf import json_format

from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion, RepositoryError

SAVED_MODEL = "saved_model.pb"
MANIFEST = "assets.extra/manifest.json"
SCHEMA_VERSION = 1

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VERSION_NAME = re.compile(r"[1-9][0-9]{0,17}")  # one spelling a number, and it fits an int64


@dataclass(frozen=True)
class VersionFolder:
    """One version on disk, as one scan found it.

    fingerprint: another one once any file's size or time of change is another.
    problem:     why it must not be loaded yet; None if it is whole.
    """

    name: str
    version: int
    path: Path
    fingerprint: str
    problem: str | None


class _File(NamedTuple):
    size_bytes: int
    mtime_ns: int


def scan(root: Path) -> dict[str, dict[int, VersionFolder]]:
    """Model name -> version -> folder. Blocking.

    Other names are left out: hidden, temporary (`.tmp-...`), files, models without a version.
    What vanishes while it is read counts as absent, as if the scan had come later.

    Raises: RepositoryError if the root or a model's folder cannot be listed. That is not the
            same as empty: a caller who took it for empty would unload what it serves.
    """
    snapshot = {}
    try:
        for name in _subfolders(root, MODEL_NAME):
            with suppress(FileNotFoundError, NotADirectoryError):
                if numbers := _subfolders(root / name, VERSION_NAME):
                    snapshot[name] = {
                        int(number): _examine(name, int(number), root / name / number)
                        for number in numbers
                    }
    except OSError as error:
        raise RepositoryError(
            f"cannot list {error.filename}: {error.strerror}. A repository is a folder "
            "ROOT/NAME/VERSION that this process may read; `triptych export` writes into one."
        ) from error
    return snapshot


def _subfolders(path: Path, names: re.Pattern[str]) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(
            entry.name for entry in entries if names.fullmatch(entry.name) and entry.is_dir()
        )


def _examine(name: str, version: int, path: Path) -> VersionFolder:
    files = _regular_files(path)
    problem = None
    try:
        _check(path, files)
    except BadVersion as error:
        problem = str(error)
    fingerprint = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    return VersionFolder(name, version, path, fingerprint, problem)


def _regular_files(folder: Path) -> dict[str, _File]:
    """Path below the folder, "/" between parts -> what stat says of it.

    Links are followed, hidden folders are not: a Kubernetes volume keeps its files in
    `..data/` and links to them.
    """
    files: dict[str, _File] = {}
    visited: set[str] = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if (real := os.path.realpath(parent)) in visited:  # a link to a folder above it
            subfolders.clear()
            continue
        visited.add(real)
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):
                found = path.stat()
                if stat.S_ISREG(found.st_mode):
                    relative = path.relative_to(folder).as_posix()
                    files[relative] = _File(found.st_size, found.st_mtime_ns)
    return files


def _check(folder: Path, files: Mapping[str, _File]) -> None:
    """Raises: BadVersion if a file that the manifest promises is missing or of another size."""
    for path in (SAVED_MODEL, MANIFEST):
        _require(path, files)
    for declared in _read_manifest(folder).files:
        parts = PurePosixPath(declared.path)
        if parts.is_absolute() or ".." in parts.parts:
            raise BadVersion(
                f"{MANIFEST} names a file outside of its folder, {declared.path!r}: "
                "export the model again"
            )
        size_bytes = _require(declared.path, files).size_bytes
        if size_bytes < declared.bytes:
            raise BadVersion(
                f"{declared.path} has {size_bytes:,} of {declared.bytes:,} bytes: "
                "still being copied?"
            )
        if size_bytes > declared.bytes:
            raise BadVersion(
                f"{declared.path} has {size_bytes:,} bytes, and {MANIFEST} says "
                f"{declared.bytes:,}: changed after its export? Export the model again"
            )


def _require(path: str, files: Mapping[str, _File]) -> _File:
    if path not in files:
        raise BadVersion(f"{path} is missing or cannot be read: still being copied?")
    return files[path]


def _read_manifest(folder: Path) -> manifest_pb2.Manifest:
    manifest = manifest_pb2.Manifest()
    try:
        # A later schema may have other fields; its number is what decides.
        json_format.Parse((folder / MANIFEST).read_bytes(), manifest, ignore_unknown_fields=True)
    except OSError as error:
        raise BadVersion(f"{MANIFEST} cannot be read: {error.strerror}") from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BadVersion(f"{MANIFEST} is no manifest: {error}. Still being copied?") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise BadVersion(
            f"{MANIFEST} has schema_version {manifest.schema_version}, and this server knows "
            f"{SCHEMA_VERSION} only: export the model again with the server's own release"
        )
    return manifest
