"""Lines: of a list of files, each read below one folder, or of texts. Standard input, too."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from pipelines.batch.errors import BatchError
from pipelines.batch.sources.item import Fingerprint, Item, Survey, shown
from pipelines.batch.storage import below, describe, is_url, open_stream
from serving.errors import InvalidInput

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Lines:
    """
    Args: given: a file's path or URL.
          root: below which the lines name files; None: they are texts.
    """

    def __init__(self, given: str, root: str | None) -> None:
        self._given = given
        self._root = root

    def items(self) -> Iterator[Item]:
        with open_stream(self._given) as stream:
            for line in _lines(stream):
                if self._root is None:
                    yield Item(shown(line.decode(errors="surrogateescape")), data=line)
                else:
                    yield listed(line.decode(errors="surrogateescape"), self._root)

    def survey(self) -> Survey:
        found = Fingerprint()
        list_file = describe(self._given)
        if list_file is None:
            raise BatchError(f"{self._given} is gone: give another INPUT")
        found.add("list", list_file.size, inputs=0)
        for item in self.items():
            file = None
            if item.path is not None and not is_url(item.path):
                file = describe(item.path)
            found.add(item.name, *(file[1:] if file else ()))
        return found.survey()


class StandardInput(Lines):
    """Kept in a file as long as this lives, so that it can be counted first and read again."""

    def __init__(self, stream: IO[bytes], root: str | None) -> None:
        self._spool = tempfile.NamedTemporaryFile(prefix="triptych-stdin-")  # noqa: SIM115
        shutil.copyfileobj(stream, self._spool)
        self._spool.flush()
        super().__init__(self._spool.name, root)


def listed(name: str, root: str) -> Item:
    """Relative to `root`, and never outside of it, whatever a list says."""
    try:
        path = below(root, name)
    except InvalidInput as error:
        return Item(shown(name), error=str(error))
    size = 0
    with suppress(OSError):  # it is told once it is read
        size = 0 if is_url(path) else os.stat(path).st_size
    return Item(shown(name), path, size=size)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Without their ends and a byte order mark; empty ones are left out."""
    rest = b""
    first = True
    while block := stream.read(2**20):
        if first:
            block, first = block.removeprefix(BYTE_ORDER_MARK), False
        *whole, rest = (rest + block).split(b"\n")
        yield from (line for line in (line.rstrip(b"\r") for line in whole) if line.strip())
    if rest.strip():
        yield rest.rstrip(b"\r")
