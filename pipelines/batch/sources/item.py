"""An input before it is read: its name, and where it lies or what it holds."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pipelines.batch.storage import File

EXTENSIONS = {
    "image": frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}),
    "audio": frozenset({".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"}),
    "text": frozenset({".txt"}),
}


class Item(NamedTuple):
    """One of: `path`, with an offset where it is a part of that file; `data`; `error`.

    size: in bytes, 0 if nobody knows yet.
    """

    name: str
    path: str | None = None
    offset: int | None = None
    size: int = 0
    data: bytes | str | None = None
    error: str | None = None


class Survey(NamedTuple):
    """fingerprint: another one if an input came, went or changed."""

    inputs: int
    fingerprint: str


class Source(Protocol):
    """Says the same items in the same order whenever it is asked, without holding them all."""

    def items(self) -> Iterator[Item]: ...

    def survey(self) -> Survey:
        """Before a run. Raises: BatchError if what was given cannot be used."""


class Fingerprint:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.inputs = 0

    def add(self, name: str, *values: object, inputs: int = 1) -> None:
        self._hash.update(repr((name, *values)).encode(errors="surrogateescape"))
        self.inputs += inputs

    def add_file(self, file: File, inputs: int = 1) -> None:
        self.add(file.path, file.size, file.stamp, inputs=inputs)

    def survey(self) -> Survey:
        return Survey(self.inputs, self._hash.hexdigest())


def shown(name: str) -> str:
    """What a row can hold: bytes of a name that are not UTF-8 are escaped, as \\udcff."""
    return name.encode(errors="backslashreplace").decode()
