"""What a finished model is measured on: the data's own test split, or else all of the data.

Training needs classes with enough examples to split; measuring takes them as they are.
"""

from dataclasses import dataclass
from pathlib import Path

from . import folder, table
from .dataset import Dataset, Example, Skipped
from .errors import DatasetError

OWN_TEST, ALL = "the test split", "all of the data"


@dataclass(frozen=True)
class Labelled:
    """Examples with their classes.

    split: what part of the data it is, in words.
    total: examples in all splits together.
    """

    name: str
    domain: str
    labels: tuple[str, ...]  # indexed by class_id
    examples: list[Example]
    split: str
    total: int
    origin: str
    licence: str
    skipped: list[Skipped]  # found while listing, and left out


def of_dataset(data: Dataset, split: str = OWN_TEST) -> Labelled:
    total = len(data.train) + len(data.validation) + len(data.test)
    parts = data.name, data.domain, data.labels, data.test, split, total
    return Labelled(*parts, data.origin, data.licence, data.skipped)


def of_path(path: Path) -> Labelled:
    """Raises: DatasetError if there is no example at all, or it is neither a folder nor a table."""
    if path.is_dir():
        domain, labels, splits, skipped = folder.read(path)
        name, origin = path.resolve().name, folder.origin(path)
    else:
        domain = "text"
        labels, every, skipped = table.read(path)
        splits = {"all": every}
        name, origin = path.stem, table.origin(path)
    examples, split = (splits["test"], OWN_TEST) if "test" in splits else (splits["all"], ALL)
    if not examples:
        raise DatasetError(f"{path}: there is no example in {split}; put some in")
    total = sum(map(len, splits.values()))
    return Labelled(name, domain, labels, examples, split, total, origin, "not stated", skipped)
