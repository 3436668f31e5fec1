"""Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, 8 kHz.

Source:   https://github.com/Jakobovski/free-spoken-digit-dataset, release v1.0.10
Citation: Jackson et al. 2018, doi 10.5281/zenodo.1342401.
Licence:  CC BY-SA 4.0
Split:    by take (the last number of `DIGIT_SPEAKER_TAKE.wav`), as the source says: 0-4 are test.
          Ours: 5-7 are validation.  All speakers are in all splits: it measures new takes, not
          new speakers.  Ours, too, `fsdd-SPEAKER`: all takes of that one are test, and no other's.
Layouts:  the release's archive (zip or tar.gz; unpacked once to `recordings/`), or a folder of the
          WAV files.
"""

import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .dataset import Dataset, Example, Skipped
from .download import Original
from .errors import DatasetError
from .listing import list_folder
from .unpack import write_once

LABELS = tuple("0123456789")
FILE_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[a-z]+)_(?P<take>[0-9]+)\.wav")
ARCHIVE_NAME = re.compile(r"(free-spoken-digit-dataset-|v)[0-9.]+\.(zip|tar\.gz)")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TEST_TAKES = range(5)
VALIDATION_TAKES = range(5, 8)
ORIGINALS = (
    # GitHub makes this archive from the tag v1.0.10 (commit d6938f9b), so the checksum can be had
    # from a clone too: TZ=America/Los_Angeles git archive --format=zip
    # --prefix=free-spoken-digit-dataset-1.0.10/ v1.0.10
    Original(
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
        "sha256:c680098f5d2355ba7cc4bd8b0ca9e0a24c00ebe3b4c552208889a4d28d4fbc2b",
    ),
)


def load(folder: Path, seed: int, unheard: str | None = None) -> Dataset:
    """The seed isn't used: the split is by take, or by speaker.

    Args:   unheard: the speaker that training and validation never hear.
    Raises: DatasetError if there are no recordings, or a split lacks a digit.
    """
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    skipped: list[Skipped] = []
    recordings = _recordings(folder)
    for file in list_folder(recordings, recordings, skipped)[1]:
        if match := FILE_NAME.fullmatch(file.name):
            split = _split_of(int(match["take"]))
            if unheard:
                # A test of new speakers needs no takes of those that were heard.
                split = "test" if match["speaker"] == unheard else split.replace("test", "train")
            splits[split].append(Example(file, int(match["digit"])))
        else:
            skipped.append(Skipped(str(file), "not named DIGIT_SPEAKER_TAKE.wav"))
    for split, examples in splits.items():
        if lacking := sorted(set(range(10)) - {e.class_id for e in examples}):
            raise DatasetError(
                f"FSDD in {recordings} has no {split} recordings of {lacking}: "
                "is the copy complete? Unpack or download it again"
            )
    return Dataset(
        name=f"fsdd-{unheard}" if unheard else "fsdd",
        domain="audio",
        labels=LABELS,
        **splits,
        origin="https://github.com/Jakobovski/free-spoken-digit-dataset (Jackson et al. 2018)",
        licence="CC BY-SA 4.0",
        skipped=skipped,
    )


def _split_of(take: int) -> str:
    if take in TEST_TAKES:
        return "test"
    return "validation" if take in VALIDATION_TAKES else "train"


def _recordings(folder: Path) -> Path:
    """The folder of WAV files; unpacks the archive if need be."""
    if any(folder.glob("[0-9]_*.wav")):
        return folder
    target = folder / "recordings"
    for unpacked in (target, *sorted(folder.glob("free-spoken-digit-dataset-*/recordings"))):
        if unpacked.is_dir():
            return unpacked
    archives = sorted(file for file in folder.iterdir() if ARCHIVE_NAME.fullmatch(file.name))
    if not archives:
        raise DatasetError(
            f"no FSDD in {folder}: expected DIGIT_SPEAKER_TAKE.wav files, recordings/, "
            "or the archive of release v1.0.10"
        )
    with write_once(target) as unfinished:
        for path, data in _members(archives[-1]):
            name = PurePosixPath(path)
            if name.parent.name == "recordings" and FILE_NAME.fullmatch(name.name):
                (unfinished / name.name).write_bytes(data)
        if not any(unfinished.iterdir()):
            raise DatasetError(f"{archives[-1]} has no recordings: download release v1.0.10 again")
    return target


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Each regular file in a zip or tar archive: (path, content)."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zip_file:
            for name in zip_file.namelist():
                yield name, zip_file.read(name)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if content := tar.extractfile(member):
                    yield member.name, content.read()
