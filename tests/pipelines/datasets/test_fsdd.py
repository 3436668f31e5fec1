"""FSDD as a folder of recordings, and as the release's archive."""

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.datasets import DatasetError, load_dataset

SPEAKERS = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
TAKES = range(12)  # of 50


def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(8, np.int16), 8000, format="WAV")
    return file.getvalue()


def names(takes: range) -> list[str]:
    return [f"{d}_{speaker}_{t}.wav" for d in range(10) for speaker in SPEAKERS for t in takes]


def write_folder(folder: Path, takes: range = TAKES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names(takes):
        (folder / name).touch()


def write_recordings(folder: Path) -> None:
    write_folder(folder / "recordings")


def archived() -> dict[str, bytes]:
    top = "free-spoken-digit-dataset-1.0.10"
    recordings = {f"{top}/recordings/{name}": wav() for name in names(TAKES)}
    others = (f"{top}/README.md", f"{top}/acquire_data/0_theo_0.wav", "../0_evil_0.wav")
    return recordings | dict.fromkeys(others, b"?")


def write_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "v1.0.10.zip", "w") as archive:
        for name, data in archived().items():
            archive.writestr(name, data)


def write_tar(folder: Path) -> None:
    path = folder / "free-spoken-digit-dataset-1.0.10.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in archived().items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("write", [write_folder, write_recordings, write_zip, write_tar])
def test_the_split_is_by_take(tmp_path, write):
    """The README: takes 0-4 (inclusive) are the test set, 5-49 the training set."""
    write(tmp_path)
    dataset = load_dataset("fsdd", tmp_path)
    assert (dataset.domain, "".join(dataset.labels)) == ("audio", "0123456789")
    assert dataset.skipped == []
    for split, takes in (("test", range(5)), ("validation", range(5, 8)), ("train", range(8, 12))):
        examples = getattr(dataset, split)
        assert sorted(e.source.name for e in examples) == sorted(names(takes))
        assert set(Counter(e.class_id for e in examples).values()) == {6 * len(takes)}
        assert all(e.class_id == int(e.source.name[0]) for e in examples)


def test_an_archive_is_unpacked_once_and_stays_inside(tmp_path):
    folder = tmp_path / "in" / "fsdd"
    folder.mkdir(parents=True)
    write_zip(folder)
    first = load_dataset("fsdd", tmp_path / "in")
    assert first.test[0].source.read_bytes() == wav()
    assert sorted(p.name for p in folder.iterdir()) == ["recordings", "v1.0.10.zip"]
    assert not list(tmp_path.rglob("*evil*"))
    (folder / "v1.0.10.zip").unlink()
    assert load_dataset("fsdd", tmp_path / "in") == first


def test_a_copy_may_lack_takes_but_no_digit(tmp_path):
    write_folder(tmp_path, range(3, 12))
    (tmp_path / "notes.txt").touch()
    dataset = load_dataset("fsdd", tmp_path)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [240, 180, 120]
    assert [s.reason for s in dataset.skipped] == ["not named DIGIT_SPEAKER_TAKE.wav"]
    for file in tmp_path.glob("7_*_[34].wav"):
        file.unlink()
    with pytest.raises(DatasetError, match=r"no test recordings of \[7\]"):
        load_dataset("fsdd", tmp_path)


@pytest.mark.parametrize("content", [b"not a zip", None], ids=["damaged", "no-recordings"])
def test_a_useless_archive_leaves_nothing(tmp_path, content):
    path = tmp_path / "v1.0.10.zip"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("README.md", "nothing here")
    else:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match="download"):
        load_dataset("fsdd", tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"no FSDD in .*release v1\.0\.10"):
        load_dataset("fsdd", tmp_path)


@pytest.mark.parametrize("unheard", SPEAKERS)
def test_a_speaker_can_be_one_that_was_never_heard(unheard: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "fsdd")
    data = load_dataset(f"fsdd-{unheard}", tmp_path)
    speakers = {
        split: Counter(Path(e.source).stem.split("_")[1] for e in getattr(data, split))
        for split in ("train", "validation", "test")
    }
    others = sorted(set(SPEAKERS) - {unheard})
    assert speakers["test"] == {unheard: 10 * len(TAKES)}
    assert sorted(speakers["train"]) == sorted(speakers["validation"]) == others
    assert sum(speakers["train"].values()) == 5 * 10 * (len(TAKES) - 3)
