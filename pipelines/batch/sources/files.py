"""A folder, a pattern, or a file: each file is an input."""

import glob
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

from pipelines.batch.errors import BatchError
from pipelines.batch.sources.item import EXTENSIONS, Fingerprint, Item, Survey, shown
from pipelines.batch.storage import File, describe, is_url, walk

WILDCARDS = re.compile(r"[*?\[]")


class Files(ABC):
    """
    Args: given: the folder, pattern or file.
    """

    def __init__(self, given: str) -> None:
        self._given = given

    @abstractmethod
    def files(self) -> Iterator[File]: ...

    def items(self) -> Iterator[Item]:
        for file in self.files():
            yield Item(shown(file.path), file.path, size=file.size)

    def survey(self) -> Survey:
        found = Fingerprint()
        for file in self.files():
            found.add_file(file)
        return found.survey()


class Folder(Files):
    """Recursively, the files of the model's kind, by their extensions."""

    def __init__(self, given: str, domain: str) -> None:
        super().__init__(given)
        self._domain = domain

    def files(self) -> Iterator[File]:
        known = tuple(EXTENSIONS[self._domain])
        return (file for file in walk(self._given) if file.path.lower().endswith(known))


class Pattern(Files):
    """`*`, `?`, `[abc]` within a name, `**` over folders; every file that fits, whatever it is."""

    def files(self) -> Iterator[File]:
        if is_url(self._given):
            yield from self._remote()
            return
        for path in sorted(glob.iglob(self._given, recursive=True)):
            file = describe(path)
            if file is not None:
                yield file

    def _remote(self) -> Iterator[File]:
        from fsspec.utils import glob_translate

        wild = WILDCARDS.search(self._given)
        assert wild is not None
        folder = self._given[: wild.start()].rpartition("/")[0]
        fits = re.compile(glob_translate(self._given))
        return (file for file in walk(folder) if fits.match(file.path))


class Single(Files):
    def files(self) -> Iterator[File]:
        file = describe(self._given)
        if file is None:
            raise BatchError(f"{self._given} is gone: give another INPUT")
        yield file
