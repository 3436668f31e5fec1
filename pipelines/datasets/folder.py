"""A person's own folder of examples: `CLASS/file`, or `train/CLASS/file` beside `test/CLASS/file`.

Labels are the names of the class folders, sorted.  The domain is told by the files' extensions; a
text file is one example.
Split: the folder's own where it has `train/` and `test/` (and `validation/` or `val/`; else a
stratified tenth of train); without them stratified 80 / 10 / 10.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .dataset import Dataset, Example, Skipped
from .errors import DatasetError
from .listing import DOMAIN_OF, EXTENSIONS, list_classes, list_folder, number
from .splitting import hold_out, require_examples, split_own

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


class Listed(NamedTuple):
    domain: str
    labels: tuple[str, ...]
    splits: dict[str, list[Example]]  # a folder without splits has one, `all`
    skipped: list[Skipped]


def load(folder: Path, seed: int) -> Dataset:
    """Raises: DatasetError if there are no classes, too few examples, or mixed domains."""
    domain, labels, examples, skipped = read(folder)
    if "all" in examples:
        require_examples(examples["all"], labels, 3, str(folder))
        train, validation, test = split_own(examples["all"], seed)
    else:
        train, test = examples["train"], examples["test"]
        if not test:
            raise DatasetError(f"{folder / 'test'} has no examples: fill it, or remove the folder")
        if "validation" in examples:
            require_examples(train, labels, 1, str(folder / "train"))
            validation = examples["validation"]
        else:
            require_examples(train, labels, 2, str(folder / "train"))
            train, validation = hold_out(train, 1 / 10, seed)
    return Dataset(
        name=folder.resolve().name,
        domain=domain,
        labels=labels,
        train=train,
        validation=validation,
        test=test,
        origin=origin(folder),
        licence="not stated",
        skipped=skipped,
    )


def read(folder: Path) -> Listed:
    """The folder as it is, with however many examples.

    Raises: DatasetError if there are no classes, or mixed domains.
    """
    skipped: list[Skipped] = []
    splits = _list_splits(folder, skipped)
    domain = _domain(folder, splits, skipped)
    labels = tuple(sorted(set().union(*splits.values())))
    examples = {split: number(classes, labels) for split, classes in splits.items()}
    if domain == "text":
        examples = {split: _read_texts(listed, skipped) for split, listed in examples.items()}
    return Listed(domain, labels, examples, skipped)


def origin(folder: Path) -> str:
    return f"own data, folder {folder.resolve().name}"


def _list_splits(folder: Path, skipped: list[Skipped]) -> dict[str, dict[str, list[Path]]]:
    """Split -> class -> files.  A folder without splits has one, `all`."""
    top, stray = list_folder(folder, folder, [])
    if not top:
        raise DatasetError(
            f"no class folders in {folder}: expected {folder}/CLASS/file; "
            f"found {len(stray)} files directly in it"
        )
    skipped.extend(Skipped(str(file), "not in a class folder") for file in stray)
    train = folder / "train"
    # `train` may be a class too, beside `bus`: it is a split if it has folders of its own.
    named_as_splits = all(path.name in SPLITS for path in top)
    if not named_as_splits and not (train in top and list_folder(train, folder, [])[0]):
        return {"all": list_classes(folder, DOMAIN_OF, folder, skipped)}
    splits: dict[str, dict[str, list[Path]]] = {}
    for path in list_folder(folder, folder, skipped)[0]:
        split = SPLITS.get(path.name)
        if split is None:
            skipped.append(Skipped(str(path), "beside train/, but not a split"))
        elif split in splits:
            raise DatasetError(f"{folder} has both validation/ and val/: remove one")
        else:
            splits[split] = list_classes(path, DOMAIN_OF, folder, skipped)
            if not splits[split]:
                raise DatasetError(f"no class folders in {path}: expected {path}/CLASS/file")
    for split in ("train", "test"):
        if split not in splits:
            raise DatasetError(
                f"{folder} has {', '.join(sorted(splits))} but no {split}: add "
                f"{folder / split}/CLASS/file, or move the classes up to {folder}/CLASS/file and "
                "they are split 80/10/10"
            )
    return splits


def _domain(folder: Path, splits: dict[str, dict[str, list[Path]]], skipped: list[Skipped]) -> str:
    counts = Counter(
        DOMAIN_OF[file.suffix.lower()]
        for classes in splits.values()
        for files in classes.values()
        for file in files
    )
    if len(counts) == 1:
        return next(iter(counts))
    if counts:
        each = ", ".join(f"{count} {domain}" for domain, count in sorted(counts.items()))
        raise DatasetError(
            f"{folder} mixes domains: {each} files; keep one domain, and move the others elsewhere"
        )
    known = " ".join(sorted(set().union(*EXTENSIONS.values())))
    first = f" (the first: {skipped[0].source}: {skipped[0].reason})" if skipped else ""
    raise DatasetError(
        f"no examples in the class folders of {folder}; skipped {len(skipped)}{first}. "
        f"Known extensions: {known}"
    )


def _read_texts(listed: list[Example], skipped: list[Skipped]) -> list[Example]:
    examples = []
    for file, class_id in listed:
        try:
            text = Path(file).read_text("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            skipped.append(Skipped(str(file), f"not UTF-8: {error.reason} at {error.start}"))
            continue
        if text:
            examples.append(Example(text, class_id))
        else:
            skipped.append(Skipped(str(file), "empty text"))
    return examples
