"""Lists `FOLDER/CLASS/file`: what is an example, what is silently ignored, what is skipped and why.

A link is followed only if it ends inside the data set's own folder.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from .dataset import Example, Skipped
from .errors import DatasetError

EXTENSIONS = {
    "image": frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}),
    "audio": frozenset({".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"}),
    "text": frozenset({".txt"}),
}
DOMAIN_OF = {extension: domain for domain, known in EXTENSIONS.items() for extension in known}
LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})  # and every dot file


def list_folder(
    folder: Path, within: Path, skipped: list[Skipped]
) -> tuple[list[Path], list[Path]]:
    """The visible (folders, files) in a folder, each sorted by name."""
    folders: list[str] = []
    files: list[str] = []
    boundary = within.resolve()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in LEFT_BY_SYSTEMS:
                continue
            if entry.is_symlink():
                target = Path(os.path.realpath(entry.path))
                if not target.exists():
                    skipped.append(Skipped(entry.path, "a link to nothing"))
                    continue
                if not target.is_relative_to(boundary):
                    skipped.append(Skipped(entry.path, "a link that leaves the data set's folder"))
                    continue
            (folders if entry.is_dir() else files).append(entry.name)
    return [folder / n for n in sorted(folders)], [folder / n for n in sorted(files)]


def list_classes(
    folder: Path, extensions: Collection[str], within: Path, skipped: list[Skipped]
) -> dict[str, list[Path]]:
    """Class -> its files with one of the extensions, both sorted by name."""
    classes: dict[str, list[Path]] = {}
    for class_folder in list_folder(folder, within, skipped)[0]:
        nested, files = list_folder(class_folder, within, skipped)
        skipped.extend(Skipped(str(n), "a folder inside a class folder") for n in nested)
        known = classes[class_folder.name] = []
        for file in files:
            extension = os.path.splitext(file.name)[1].lower()
            if extension in extensions:
                known.append(file)
            else:
                skipped.append(Skipped(str(file), f"unknown extension {extension or '(none)'}"))
    return classes


def list_split(
    folder: Path, labels: tuple[str, ...], domain: str, within: Path, skipped: list[Skipped]
) -> list[Example]:
    """The examples of one split of a known data set, in the order of its labels.

    Raises: DatasetError if the folder's classes are not these labels, or one of them is empty.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}: expected {folder}/{labels[0]}/file and so on")
    classes = list_classes(folder, EXTENSIONS[domain], within, skipped)
    if extra := sorted(classes.keys() - set(labels)):
        raise DatasetError(
            f"{folder} has class folders that this data set doesn't know: {', '.join(extra)}; "
            f"expected {', '.join(labels)}"
        )
    if lacking := [label for label in labels if not classes.get(label)]:
        raise DatasetError(
            f"{folder} has no {domain} files for {', '.join(lacking)}: "
            "is the copy complete? Unpack or download it again"
        )
    return number(classes, labels)


def number(classes: Mapping[str, list[Path]], labels: tuple[str, ...]) -> list[Example]:
    """One example a file, in the order of the labels."""
    return [
        Example(file, class_id)
        for class_id, label in enumerate(labels)
        for file in classes.get(label, ())
    ]
