"""What a data set is: examples with class numbers, in three splits.

Says nothing of where they come from (one loader, one file), nor of what their bytes hold: decoding
them is the reader's matter, and so is shuffling.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Example(NamedTuple):
    source: Path | str  # a file of encoded image or audio, or the text itself
    class_id: int


class Skipped(NamedTuple):
    source: str  # a path, or file and line
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Examples in a fixed order: sorted by class, then by name; a table and TREC keep their own."""

    name: str
    domain: str  # "image" | "audio" | "text"
    labels: tuple[str, ...]  # indexed by class_id
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    origin: str  # where the originals come from: address and citation
    licence: str
    skipped: list[Skipped]  # found while listing, and left out
