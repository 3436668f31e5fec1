"""What a model repository holds, and which of its versions are whole: ROOT/NAME/VERSION/.

Reads names, sizes, times, manifests and NAME/model.toml, nothing else. Digests and golden inputs
are checked on load (`serving.runtime.servable`); which version to serve is
`serving.version_policy`'s matter, and when to look again `serving.watcher`'s.
"""

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from serving.errors import BadVersion, RepositoryError
from serving.model_config import BadModelConfig, ModelConfig, read_config
from serving.runtime.manifest import GOLDEN, MANIFEST, SAVED_MODEL, read_manifest

INDEX = "variables/variables.index"
SHARD = re.compile(r"variables/variables\.data-([0-9]{5})-of-([0-9]{5})")

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VERSION_NAME = re.compile(r"[1-9][0-9]{0,17}")  # one spelling a number, and it fits an int64
MAX_FILES = 10_000  # of a version: a link that leads out of it may lead to a whole disk

SETTLING = (
    f"there is no {MANIFEST} to tell whether this copy is whole: it is loaded once it has stayed "
    "as it is for a while"
)


@dataclass(frozen=True)
class VersionFolder:
    """One version on disk, as one scan found it.

    fingerprint: another one once any file's size or time of change is another.
    stamp:       another one even if only a file's rights are, or a copy kept its time.
    problem:     why it must not be loaded yet; None if it is whole.
    foreign:     a SavedModel without our manifest.
    settling:    foreign, and seen too lately to be called whole; that alone is its problem.
    config:      of its model, and the server's `load` follows it.
    """

    name: str
    version: int
    path: Path
    fingerprint: str
    problem: str | None
    foreign: bool = False
    settling: bool = False
    config: ModelConfig = field(default_factory=ModelConfig)
    stamp: str = ""


@dataclass(frozen=True)
class ModelFolder:
    """One model on disk, as one scan found it.

    config:  from its model.toml, or the last good one; None if there never was a good one.
    problem: what is wrong with model.toml, or with the folder, whose versions are then those of
             an earlier scan; None if nothing is.
    wanted:  False once it was unloaded on request.
    """

    name: str
    config: ModelConfig | None
    problem: str | None
    versions: Mapping[int, VersionFolder]
    wanted: bool = True


Snapshot = Mapping[str, ModelFolder]


class _File(NamedTuple):
    size_bytes: int
    mtime_ns: int
    ctime_ns: int  # which no copying program can set


def scan(
    root: Path,
    seen: Snapshot | None = None,
    *,
    settle_seconds: float = 1.0,
    clock: Callable[[], float] = time.time,
) -> dict[str, ModelFolder]:
    """Model name -> what its folder holds. Blocking.

    Other names are left out: hidden, temporary (`.tmp-...`), files, models without a version.
    What vanishes while it is read counts as absent, as if the scan had come later. What cannot
    be read does not: a caller who took it for absent would unload what it serves.

    Args:
        seen: an earlier scan. A model whose model.toml is wrong now keeps the configuration that
            it had then, and a foreign version that looks as it did then is taken for whole. Of
            what did not change since, no file is read again.
        settle_seconds: for which a foreign version that is new must have been left alone.

    Raises: RepositoryError if the root cannot be listed.
    """
    settled_ns = round((clock() - settle_seconds) * 1e9)
    snapshot, vanished = {}, False
    for name in _models(root):
        before = seen.get(name) if seen is not None else None
        try:
            if numbers := _subfolders(root / name, VERSION_NAME):
                snapshot[name] = _model(root / name, numbers, before, settled_ns)
        except (FileNotFoundError, NotADirectoryError):
            vanished = True
        except OSError as error:
            snapshot[name] = _unreadable(name, before, error)
    if vanished:
        _models(root)  # which raises if the root itself is gone, and with it every model
    return snapshot


def _models(root: Path) -> list[str]:
    try:
        return _subfolders(root, MODEL_NAME)
    except OSError as error:
        raise RepositoryError(
            f"cannot list {root}: {error.strerror}. A repository is a folder "
            "ROOT/NAME/VERSION that this process may read; `triptych export` writes into one."
        ) from error


def _subfolders(path: Path, names: re.Pattern[str]) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(
            entry.name for entry in entries if names.fullmatch(entry.name) and _may_be_folder(entry)
        )


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # what cannot be looked at is not absent
        return True


def _unreadable(name: str, before: ModelFolder | None, error: OSError) -> ModelFolder:
    """As it was, so that one model's folder holds up no other, and what it serves goes on."""
    problem = f"cannot list its folder: {error.strerror}. Let this process read it"
    if before is None:
        return ModelFolder(name, None, problem, {})
    return replace(before, problem=problem)


def _model(
    folder: Path, numbers: list[str], before: ModelFolder | None, settled_ns: int
) -> ModelFolder:
    config, problem = before.config if before else None, None
    try:
        config = read_config(folder)
    except BadModelConfig as error:
        problem = str(error)
    # Without a configuration, what was found out of a version gave way to what is wrong with that.
    judged = before is not None and before.config is not None
    versions = {}
    for number in map(int, numbers):
        then = before.versions.get(number) if before else None
        version = _version(folder, number, then, settled_ns, judged)
        if config is None:
            version = replace(version, problem=problem, settling=False)
        else:
            version = replace(version, config=config)
        versions[number] = version
    return ModelFolder(folder.name, config, problem, versions)


def _version(
    model: Path, number: int, then: VersionFolder | None, settled_ns: int, judged: bool
) -> VersionFolder:
    """judged: `then` tells what was found out of the version."""
    path = model / str(number)
    try:
        files = _regular_files(path)
    except BadVersion as error:
        return VersionFolder(model.name, number, path, fingerprint="", problem=str(error))
    stamp = _digest(sorted(files.items()))
    if judged and then is not None and then.stamp == stamp and not then.settling:
        return then
    # Without the change times of inodes, which a link more or other rights set too.
    fingerprint = _digest([(name, f.size_bytes, f.mtime_ns) for name, f in sorted(files.items())])
    foreign = MANIFEST not in files and GOLDEN not in files
    problem, settling = None, False
    try:
        _check_foreign(files) if foreign else _check(path, files)
        if foreign:
            unchanged = then is not None and then.fingerprint == fingerprint
            settling = not unchanged and max(f.ctime_ns for f in files.values()) > settled_ns
            problem = SETTLING if settling else None
    except BadVersion as error:
        problem = str(error)
    return VersionFolder(
        model.name, number, path, fingerprint, problem, foreign, settling, stamp=stamp
    )


def _digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _regular_files(folder: Path) -> dict[str, _File]:
    """Path below the folder, "/" between parts -> what stat says of it.

    Links are followed, hidden folders are not: a Kubernetes volume keeps its files in
    `..data/` and links to them.

    Raises: BadVersion if there are more than MAX_FILES, or as many folders.
    """
    files: dict[str, _File] = {}
    visited: set[str] = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if (real := os.path.realpath(parent)) in visited:  # a link to a folder above it
            subfolders.clear()
            continue
        visited.add(real)
        if max(len(files) + len(names), len(visited)) > MAX_FILES:
            raise BadVersion(
                f"it has over {MAX_FILES:,} files or folders: take out the link that leads out"
            )
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):
                found = path.stat()
                if stat.S_ISREG(found.st_mode):
                    relative = path.relative_to(folder).as_posix()
                    files[relative] = _File(found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return files


def _check(folder: Path, files: Mapping[str, _File]) -> None:
    """Raises: BadVersion if a file that the manifest promises is missing or of another size."""
    for path in (SAVED_MODEL, MANIFEST):
        _require(path, files)
    for declared in read_manifest(folder).files:
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


def _check_foreign(files: Mapping[str, _File]) -> None:
    """Raises: BadVersion if a part is missing that a SavedModel of any origin has."""
    if not _require(SAVED_MODEL, files).size_bytes:
        raise BadVersion(f"{SAVED_MODEL} is empty: still being copied?")
    if not any(path.startswith("variables/") for path in files):
        return
    _require(INDEX, files)
    shards = [found for path in files if (found := SHARD.fullmatch(path))]
    count = max((int(shard[2]) for shard in shards), default=1)
    for i in range(count):
        _require(f"variables/variables.data-{i:05}-of-{count:05}", files)


def _require(path: str, files: Mapping[str, _File]) -> _File:
    if path not in files:
        raise BadVersion(f"{path} is missing or cannot be read: still being copied?")
    return files[path]
