"""OUTPUT: each input's rows exactly once, whatever ends a run and whenever.

`_manifest.json` comes first and says of what the rows are; then shards of a fixed number of inputs,
each under a temporary name until it is whole. So what is missing of a run is what has no file. The
same command again makes that; any other is refused. Names that begin with _ or . are no data to
Arrow, Spark and DuckDB.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from pyarrow import fs

from pipelines.batch.errors import BatchError
from pipelines.batch.formats import Counts, read_counts
from pipelines.batch.storage import is_url, resolve

MANIFEST = "_manifest.json"
LOCK = ".lock"
TEMPORARY = ".tmp-"
SAME = {  # what must be the same when a run goes on, and what to do where it isn't
    "model": "name the model's version folder as MODEL",
    "input": "put the input back as it was",
    "options": "give the options of the first run",
}


class Output:
    """
    Args:   given: a folder, here or behind a URL; it is made if it isn't there.
            manifest: "model", "input", "options": what the rows are of.
            inputs, shard_inputs: in all, and of each shard.
    Raises: BatchError if it cannot be written to, is another run's, or holds something else.
    """

    def __init__(
        self, given: str, kind: str, manifest: Mapping[str, Any], inputs: int, shard_inputs: int
    ) -> None:
        self.given = given
        self.kind = kind
        self._folder = folder_of(given)
        self.shards = -(-inputs // shard_inputs)
        try:
            names = set(self._folder.open())
            self._begin(names, json.loads(json.dumps(manifest)))
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._refused(error) from error
            raise
        self.done = {shard for shard in range(self.shards) if self.name(shard) in names}

    def write(self, shard: int, data: bytes) -> None:
        """Raises: BatchError if it cannot be; then it isn't there at all."""
        try:
            self._folder.write(self.name(shard), data)
        except OSError as error:
            raise self._refused(error) from error
        self.done.add(shard)

    def counts(self, shard: int) -> Counts:
        """Of one that is done. Raises: BatchError if it is damaged."""
        try:
            return read_counts(self._folder.read(self.name(shard)), self.kind)
        except (OSError, ValueError, KeyError) as error:
            raise BatchError(
                f"{self.given}/{self.name(shard)} cannot be read ({error}): remove it, and it is "
                "made again"
            ) from error

    def name(self, shard: int) -> str:
        return shard_name(shard, self.kind)

    def close(self) -> None:
        self._folder.close()

    def _begin(self, names: set[str], manifest: dict[str, Any]) -> None:
        if MANIFEST in names:
            self._require_same(manifest)
            return
        strangers = sorted(name for name in names if not name.startswith("."))
        if strangers:
            raise BatchError(
                f"{self.given} holds {strangers[0]!r} and no {MANIFEST}, so it is no output of a "
                "batch run: give an empty or a new folder"
            )
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        self._folder.write(MANIFEST, text.encode())

    def _require_same(self, manifest: dict[str, Any]) -> None:
        try:
            before = json.loads(self._folder.read(MANIFEST))
            changed = {part: _changes(before[part], manifest[part]) for part in SAME}
        except (ValueError, KeyError, TypeError) as error:
            raise BatchError(f"{self.given}/{MANIFEST} cannot be read: {error}") from error
        for part, what in changed.items():
            if what:
                raise BatchError(
                    f"{self.given} holds rows of another run; {part}: {what}. To go on with that, "
                    f"{SAME[part]}; else give another OUTPUT"
                )

    def _refused(self, error: OSError) -> BatchError:
        reason = error.strerror or str(error)
        return BatchError(
            f"{self.given} cannot be written: {reason}. What is whole stays: mend that, and the "
            "same command goes on"
        )


def shard_name(shard: int, kind: str) -> str:
    return f"part-{shard:06}.{kind}"


def folder_of(given: str) -> "Local | Remote":
    return Remote(given) if is_url(given) else Local(given)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    told = []
    for name, value in now.items():
        if before.get(name) == value:
            continue
        if name in ("fingerprint", "digest"):
            told.append("what it holds has changed")
        else:
            told.append(f"{name} was {_short(before.get(name))} and is {_short(value)}")
    return "; ".join(told)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Local:
    """A folder that one run at a time writes into."""

    def __init__(self, given: str) -> None:
        self._path = Path(given)
        self._lock: IO[str] | None = None

    def make(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)

    def open(self) -> list[str]:
        self.make()
        self._lock = (self._path / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BatchError(
                f"{self._path} is being written by another run: wait for its end, or give "
                "another OUTPUT"
            ) from None
        names = []
        for path in self._path.iterdir():
            if path.name.startswith(TEMPORARY):
                path.unlink()  # of a run that was cut short
            else:
                names.append(path.name)
        return names

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        # Of this writer alone: Ray may let two work at one shard, if it takes one for lost.
        temporary = self._path / f"{TEMPORARY}{uuid4().hex}-{name}"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path / name)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()


class Remote:
    """An upload that fails may leave half an object, so that it gets its name afterwards."""

    def __init__(self, given: str) -> None:
        self._files, place = resolve(given)
        self._place = place.rstrip("/")

    def make(self) -> None:
        if self._files.type_name != "s3":  # where there are no folders
            self._files.create_dir(self._place, recursive=True)

    def open(self) -> list[str]:
        self.make()
        found = self._files.get_file_info(fs.FileSelector(self._place, allow_not_found=True))
        return [info.base_name for info in found if info.is_file]

    def read(self, name: str) -> bytes:
        with self._files.open_input_stream(f"{self._place}/{name}") as file:
            data: bytes = file.read()
            return data

    def write(self, name: str, data: bytes) -> None:
        temporary = f"{self._place}/{TEMPORARY}{uuid4().hex}-{name}"
        with self._files.open_output_stream(temporary) as file:
            file.write(data)
        self._files.move(temporary, f"{self._place}/{name}")

    def close(self) -> None:
        pass
