"""INPUT on the command line -> a source of inputs, by what lies there and by its name."""

import os
import sys
from typing import IO

from pipelines.batch.errors import BatchError
from pipelines.batch.sources.files import WILDCARDS, Folder, Pattern, Single
from pipelines.batch.sources.item import EXTENSIONS, Source
from pipelines.batch.sources.paths import Lines, StandardInput
from pipelines.batch.sources.tables import EXTENSIONS as TABLES
from pipelines.batch.sources.tables import Table
from pipelines.batch.sources.tar import Tar
from pipelines.batch.storage import describe, extension, is_folder

STANDARD_INPUT = "-"


def open_source(
    given: str,
    domain: str,
    column: str | None = None,
    root: str | None = None,
    stdin: IO[bytes] | None = None,
) -> Source:
    """
    Args:   given: a folder, pattern, file, list (.lst, .txt), table, .tar, or `-`.
            domain: "image", "audio" or "text". Lines of a .txt and of `-` are texts for the last,
            for the others they name files.
            column: of a table.
            root: below which lists and tables name files; None: the list's own folder, for `-` the
            working directory.
    Raises: BatchError if there is no such thing, or it is none of these.
    """
    if given == STANDARD_INPUT:
        stream = stdin or sys.stdin.buffer
        return StandardInput(stream, None if domain == "text" else root or os.getcwd())
    if WILDCARDS.search(given) and describe(given) is None and not is_folder(given):
        return Pattern(given)
    if is_folder(given):
        return Folder(given, domain)
    if describe(given) is None:
        raise BatchError(f"{given} is not there: give a folder, a file, a pattern, or -")
    kind = extension(given)
    root = root or given.rpartition("/")[0] or "."
    if kind in TABLES:
        return Table(given, domain, column, root)
    if column is not None:
        raise BatchError(f"--column is for tables ({', '.join(TABLES)}), and {given} is none")
    if kind == ".tar":
        return Tar(given, domain)
    if kind == ".lst" or (kind == ".txt" and domain != "text"):
        return Lines(given, root)
    if kind == ".txt":
        return Lines(given, None)
    if kind in EXTENSIONS[domain]:
        return Single(given)
    raise BatchError(
        f"{given} is nothing that a model of {domain} reads: give a folder, a list (.lst, .txt), a "
        f"table ({', '.join(TABLES)}), a .tar, or {', '.join(sorted(EXTENSIONS[domain]))}"
    )
