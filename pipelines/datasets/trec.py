"""TREC question classification: 5,452 + 500 questions, six coarse classes.

Source:   https://cogcomp.seas.upenn.edu/Data/QA/QC/
Citation: Li and Roth 2002, Learning Question Classifiers, COLING.
Licence:  none stated.
Split:    the official train and test; of the first, a stratified tenth for validation.
Layouts:  `train_5500.label` and `TREC_10.label` (Latin-1, `COARSE:fine text`), or `trec.train.tsv`
          and `trec.test.tsv` (UTF-8, `COARSE<TAB>text`), in the folder itself or in `text/`.
"""

from pathlib import Path

from .dataset import Dataset, Example, Skipped
from .download import Original
from .errors import DatasetError
from .splitting import hold_out

CLASSES = {  # the six coarse classes of Li and Roth 2002, table 1
    "ABBR": "abbreviation",
    "DESC": "description",
    "ENTY": "entity",
    "HUM": "human",
    "LOC": "location",
    "NUM": "number",
}
LABELS = tuple(CLASSES.values())
ORIGINALS = (  # checksums: tensorflow/datasets, tensorflow_datasets/datasets/trec/checksums.tsv
    Original(
        "https://cogcomp.seas.upenn.edu/Data/QA/QC/train_5500.label",
        "sha256:9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
    ),
    Original(
        "https://cogcomp.seas.upenn.edu/Data/QA/QC/TREC_10.label",
        "sha256:033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e",
    ),
)


def load(folder: Path, seed: int) -> Dataset:
    """Raises: DatasetError if the folder has neither layout."""
    skipped: list[Skipped] = []
    train, test = (_read(file, skipped) for file in _files(folder))
    train, validation = hold_out(train, 1 / 10, seed)
    return Dataset(
        name="trec",
        domain="text",
        labels=LABELS,
        train=train,
        validation=validation,
        test=test,
        origin="https://cogcomp.seas.upenn.edu/Data/QA/QC/ (Li and Roth 2002)",
        licence="none stated; cite Li and Roth 2002",
        skipped=skipped,
    )


def _files(folder: Path) -> tuple[Path, Path]:
    for parent in (folder, folder / "text"):
        for names in (("train_5500.label", "TREC_10.label"), ("trec.train.tsv", "trec.test.tsv")):
            train, test = (parent / name for name in names)
            if train.is_file() and test.is_file():
                return train, test
    raise DatasetError(
        f"no TREC in {folder}: expected train_5500.label and TREC_10.label, "
        "or trec.train.tsv and trec.test.tsv"
    )


def _read(file: Path, skipped: list[Skipped]) -> list[Example]:
    """One example a line: `COARSE<TAB>text` or `COARSE:fine text`."""
    separator, encoding = ("\t", "utf-8") if file.suffix == ".tsv" else (" ", "latin-1")
    examples = []
    class_ids = {code: i for i, code in enumerate(CLASSES)}
    # Not splitlines: Latin-1 texts may hold U+0085, which it takes for the end of a line.
    for line_number, line in enumerate(file.read_text(encoding).split("\n"), start=1):
        code, _, text = line.rstrip("\r").partition(separator)
        class_id, text = class_ids.get(code.partition(":")[0]), text.strip()
        if class_id is not None and text:
            examples.append(Example(text, class_id))
        elif line.strip():
            skipped.append(Skipped(f"{file}:{line_number}", "no known class, or no text"))
    return examples
