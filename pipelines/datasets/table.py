"""A person's own table of labels and texts: a CSV file (quoted as usual) or TSV file (no quoting).

A first line that names the columns `label` and `text`, in any order and with others beside them, is
a header.  Without one there are two columns, label first.  UTF-8.
Labels are sorted, examples keep the file's order.  Split: stratified 80 / 10 / 10.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from .dataset import Dataset, Example, Skipped
from .errors import DatasetError
from .splitting import require_examples, split_own


def load(file: Path, seed: int) -> Dataset:
    """Raises: DatasetError if it isn't such a table, or a class has fewer than 3 examples."""
    labels, examples, skipped = read(file)
    require_examples(examples, labels, 3, f"{file} (its first column is read as the label)")
    train, validation, test = split_own(examples, seed)
    return Dataset(
        name=file.stem,
        domain="text",
        labels=labels,
        train=train,
        validation=validation,
        test=test,
        origin=origin(file),
        licence="not stated",
        skipped=skipped,
    )


def read(file: Path) -> tuple[tuple[str, ...], list[Example], list[Skipped]]:
    """(labels, examples, skipped), however many.  Raises: DatasetError if it isn't such a table."""
    skipped: list[Skipped] = []
    rows = list(_labelled_texts(file, skipped))
    labels = tuple(sorted({label for label, _ in rows}))
    class_ids = {label: i for i, label in enumerate(labels)}
    return labels, [Example(text, class_ids[label]) for label, text in rows], skipped


def origin(file: Path) -> str:
    return f"own data, table {file.name}"


def _labelled_texts(file: Path, skipped: list[Skipped]) -> Iterator[tuple[str, str]]:
    label_column, text_column, width = 0, 1, 2
    for position, (line_number, row) in enumerate(_rows(file)):
        names = [name.strip().lower() for name in row]
        where = f"{file}:{line_number}"
        if position == 0 and {"label", "text"} <= set(names):
            label_column, text_column, width = names.index("label"), names.index("text"), len(row)
        elif position == 0 and len(row) != width:
            raise DatasetError(
                f"{file} has {len(row)} columns and no header: expected two, label and text, or a "
                "first line that names the columns label and text"
            )
        elif len(row) != width:
            skipped.append(Skipped(where, f"{len(row)} columns, expected {width}"))
        elif not (label := row[label_column].strip()):
            skipped.append(Skipped(where, "empty label"))
        elif not (text := row[text_column].strip()):
            skipped.append(Skipped(where, "empty text"))
        else:
            yield label, text


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of the row's last line, its fields); empty lines are left out."""
    extension = file.suffix.lower()
    if extension not in (".csv", ".tsv"):
        raise DatasetError(f"{file} is neither a .csv nor a .tsv file: convert it, or rename it")
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if extension == ".csv":
            reader = csv.reader(lines, strict=True)
        else:
            reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except UnicodeDecodeError as error:
            raise DatasetError(f"{file} is not UTF-8 ({error.reason}): save it as UTF-8") from error
        except csv.Error as error:
            raise DatasetError(f"{file}:{reader.line_num}: {error}; correct the line") from error
