"""Speech Commands v0.02, the task of 12 classes: ten words, silence and unknown words, 16 kHz.

Source:   the training archive and the test set archive of version 0.02 (`ORIGINALS` below)
Citation: Warden 2018, Speech Commands, arXiv 1804.03209.
Licence:  CC BY 4.0
Split:    official: `validation_list.txt`; the test set's own archive; train is what neither
          `validation_list.txt` nor `testing_list.txt` names.  By speaker, so none is on two sides.
          Silence is cut from `_background_noise_` into seconds, half overlapping; `running_tap` is
          validation (as in tensorflow_datasets).  The 25 other words would be two thirds of
          train: of them a seeded sample, as many as a word has on average.
Layouts:  both archives (unpacked once beside themselves, silence written once to
          `speech_commands_silence/`), or
          `train/WORD/file` and `test/WORD/file`: a tenth of train's speakers is validation.
"""

import re
from pathlib import Path

import numpy as np
import soundfile

from .dataset import Dataset, Example, Skipped
from .download import Original
from .errors import DatasetError
from .listing import EXTENSIONS, list_classes, list_split
from .splitting import hold_out_groups
from .unpack import extract_tar, write_once

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SILENCE, UNKNOWN, NOISE = "_silence_", "_unknown_", "_background_noise_"
LABELS = (*WORDS, SILENCE, UNKNOWN)
VALIDATION_NOISE = "running_tap"
SPEAKER = re.compile(r"([0-9a-f]+)_nohash_")
TRAINING_NAME, TEST_NAME = "speech_commands_v0.02", "speech_commands_test_set_v0.02"
BUCKET = "https://storage.googleapis.com/download.tensorflow.org/data"
# Checksums: tensorflow/datasets, tensorflow_datasets/url_checksums/speech_commands.txt.
ORIGINALS = (
    Original(
        f"{BUCKET}/{TRAINING_NAME}.tar.gz",
        "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    ),
    Original(
        f"{BUCKET}/{TEST_NAME}.tar.gz",
        "sha256:cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
    ),
)


def load(folder: Path, seed: int) -> Dataset:
    """Raises: DatasetError if the folder has neither layout."""
    skipped: list[Skipped] = []
    if (folder / "train").is_dir():
        listed, test = (
            list_split(folder / split, LABELS, "audio", folder, skipped)
            for split in ("train", "test")
        )
        train, validation = hold_out_groups(listed, speaker, 1 / 10, seed)
    else:
        train, validation, test = _originals(folder, seed, skipped)
    return Dataset(
        name="speech_commands",
        domain="audio",
        labels=LABELS,
        train=train,
        validation=validation,
        test=test,
        origin="http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz (Warden 2018)",
        licence="CC BY 4.0",
        skipped=skipped,
    )


def speaker(example: Example) -> str:
    """Who speaks; a file of silence is a group of its own."""
    name = Path(example.source).name
    match = SPEAKER.search(name)
    return match[1] if match else name


def _originals(
    folder: Path, seed: int, skipped: list[Skipped]
) -> tuple[list[Example], list[Example], list[Example]]:
    for name in (TRAINING_NAME, TEST_NAME):
        if not (folder / name).is_dir() and not (folder / f"{name}.tar.gz").is_file():
            raise DatasetError(
                f"no Speech Commands in {folder}: {name}.tar.gz is missing; expected the archives "
                f"{TRAINING_NAME}.tar.gz and {TEST_NAME}.tar.gz, or train/WORD/file and "
                "test/WORD/file"
            )
    root, test_root = (
        extract_tar(folder / f"{name}.tar.gz", folder / name) for name in (TRAINING_NAME, TEST_NAME)
    )
    silence = _cut_silence(root / NOISE, folder / "speech_commands_silence")
    listed = {"validation": _names(root, "validation"), "testing": _names(root, "testing")}
    files: dict[str, dict[str, list[Path]]] = {
        split: {label: [] for label in LABELS} for split in ("train", "validation")
    }
    for word, of_word in list_classes(root, EXTENSIONS["audio"], root, skipped).items():
        if word == NOISE:
            continue
        for file in of_word:
            name = f"{word}/{file.name}"
            if name not in listed["testing"]:
                split = "validation" if name in listed["validation"] else "train"
                files[split][word if word in WORDS else UNKNOWN].append(file)
    for split, of_split in files.items():
        of_split[SILENCE] = sorted((silence / split).iterdir())
        words_mean = round(sum(len(of_split[word]) for word in WORDS) / len(WORDS))
        of_split[UNKNOWN] = _sample(of_split[UNKNOWN], words_mean, seed)
    train, validation = (
        [Example(file, i) for i, label in enumerate(LABELS) for file in files[split][label]]
        for split in ("train", "validation")
    )
    return train, validation, list_split(test_root, LABELS, "audio", test_root, skipped)


def _names(root: Path, kind: str) -> set[str]:
    file = root / f"{kind}_list.txt"
    if not file.is_file():
        raise DatasetError(f"no {file}: unpack the archive {TRAINING_NAME}.tar.gz again")
    return set(file.read_text().split())


def _sample(files: list[Path], count: int, seed: int) -> list[Path]:
    chosen = np.random.RandomState([seed]).permutation(len(files))[:count]
    return [files[i] for i in sorted(chosen)]


def _cut_silence(noise: Path, target: Path) -> Path:
    """Writes the seconds of each noise file to `target/SPLIT/NAME_START.wav`."""
    if target.is_dir():
        return target
    if not noise.is_dir():
        raise DatasetError(f"no {noise}: unpack the archive {TRAINING_NAME}.tar.gz again")
    with write_once(target) as unfinished:
        for split in ("train", "validation"):
            (unfinished / split).mkdir()
        for file in sorted(noise.glob("*.wav")):
            samples, rate_hz = soundfile.read(file, dtype="int16")
            split = "validation" if file.stem == VALIDATION_NOISE else "train"
            for start in range(0, len(samples) - rate_hz + 1, rate_hz // 2):
                piece = unfinished / split / f"{file.stem}_{start:07d}.wav"
                soundfile.write(piece, samples[start : start + rate_hz], rate_hz, subtype="PCM_16")
    return target
