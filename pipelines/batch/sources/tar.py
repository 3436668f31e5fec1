"""A tar of files, as WebDataset's shards are: each member of the model's kind is an input.

Nothing is unpacked: a member is a place in the archive, and its name only a name.
"""

import io
import tarfile
from collections.abc import Iterator

from pipelines.batch.errors import BatchError
from pipelines.batch.sources.item import EXTENSIONS, Fingerprint, Item, Survey, shown
from pipelines.batch.storage import describe, open_random

BUFFER_BYTES = 2**20  # of a remote archive that are asked for at once


class Tar:
    """`a/0001.jpg` beside `a/0001.json` is the input `a/0001`. Uncompressed archives only."""

    def __init__(self, given: str, domain: str) -> None:
        self._given = given
        self._domain = domain

    def items(self) -> Iterator[Item]:
        known = tuple(EXTENSIONS[self._domain])
        try:
            with (
                io.BufferedReader(open_random(self._given), BUFFER_BYTES) as stream,
                tarfile.open(fileobj=stream, mode="r:") as archive,
            ):
                while (member := archive.next()) is not None:
                    archive.members = []  # which would hold all of them
                    if not member.isreg() or not member.name.lower().endswith(known):
                        continue
                    key = _key(member.name)
                    if member.issparse():
                        yield Item(key, error="it is a sparse file in the archive: pack it whole")
                    else:
                        yield Item(key, self._given, member.offset_data, member.size)
        except (tarfile.TarError, EOFError) as error:
            raise BatchError(
                f"{self._given} is no whole, uncompressed tar ({error}): copy it again, or unpack "
                "it and give the folder"
            ) from error

    def survey(self) -> Survey:
        found = Fingerprint()
        file = describe(self._given)
        if file is None:
            raise BatchError(f"{self._given} is gone: give another INPUT")
        found.add_file(file, inputs=sum(1 for _ in self.items()))
        return found.survey()


def _key(name: str) -> str:
    """Up to the first dot of the last part, as WebDataset groups them."""
    folder, slash, base = name.rpartition("/")
    return shown(f"{folder}{slash}{base.split('.', 1)[0]}")
