"""Speech Commands from small archives with the originals' names, lists and folders."""

import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.datasets import DatasetError, load_dataset
from pipelines.datasets.speech_commands import speaker

WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
LABELS = (*WORDS, "_silence_", "_unknown_")
UNKNOWN_WORDS = ["backward", "bed", "visual"]
TRAINING, TEST = "speech_commands_v0.02", "speech_commands_test_set_v0.02"
# As in the originals, a speaker is in one split only.
SPEAKERS = {
    "train": [f"{i:08x}" for i in range(20)],
    "validation": [f"{i:08x}" for i in range(100, 105)],
    "testing": [f"{i:08x}" for i in range(200, 205)],
}
RATE_HZ = 16_000


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


NOISES = {
    name: np.random.default_rng(seed).integers(-9999, 9999, int(2.6 * RATE_HZ), np.int16)
    for seed, name in enumerate(["pink_noise", "running_tap"])
}
SPOKEN = wav(np.zeros(16, np.int16))


def of(split: str, words: list[str]) -> list[str]:
    return [
        f"{word}/{name}_nohash_{n}.wav"
        for word in words
        for name in SPEAKERS[split]
        for n in range(2)
    ]


def write_archive(folder: Path, name: str, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz", compresslevel=1) as archive:
        for path, data in contents.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_originals(folder: Path) -> None:
    training = {"./README.md": b"?", "./_background_noise_/README.md": b"?"}
    training |= {f"./_background_noise_/{name}.wav": wav(noise) for name, noise in NOISES.items()}
    for split in SPEAKERS:
        names = of(split, WORDS + UNKNOWN_WORDS)
        training |= {f"./{name}": SPOKEN for name in names}
        if split != "train":
            training[f"./{split}_list.txt"] = "".join(f"{name}\n" for name in names).encode()
    test = {f"./{name}": SPOKEN for name in of("testing", WORDS)}
    test |= {f"./_unknown_/bed_{name}_nohash_0.wav": SPOKEN for name in SPEAKERS["testing"]}
    test |= {f"./_silence_/{i}.wav": SPOKEN for i in range(5)} | {"./LICENSE": b"?"}
    write_archive(folder, TRAINING, training)
    write_archive(folder, TEST, test)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    write_originals(folder / "speech_commands")
    return folder


def names_of(dataset, split: str, label: str) -> list[str]:
    examples = getattr(dataset, split)
    return [e.source.name for e in examples if dataset.labels[e.class_id] == label]


def test_the_official_lists_split_the_words(originals):
    dataset = load_dataset("speech_commands", originals)
    assert (dataset.domain, dataset.labels) == ("audio", LABELS)
    assert {Path(s.source).name for s in dataset.skipped} <= {"README.md"}
    for split, official in (("train", "train"), ("validation", "validation"), ("test", "testing")):
        for word in WORDS:
            expected = [Path(name).name for name in of(official, [word])]
            assert names_of(dataset, split, word) == expected


def test_no_speaker_is_in_two_splits(originals):
    dataset = load_dataset("speech_commands", originals)
    for split, official in (("train", "train"), ("validation", "validation"), ("test", "testing")):
        spoken = [e for e in getattr(dataset, split) if dataset.labels[e.class_id] != "_silence_"]
        assert {speaker(e) for e in spoken} <= set(SPEAKERS[official])


def test_unknown_words_are_as_many_as_a_word_has(originals):
    dataset = load_dataset("speech_commands", originals)
    counts = Counter(dataset.labels[e.class_id] for e in dataset.train)
    assert counts["_unknown_"] == counts["yes"] == 40
    assert len(names_of(dataset, "validation", "_unknown_")) == 10
    assert {e.source.parent.name for e in dataset.train if e.class_id == 11} == set(UNKNOWN_WORDS)
    assert load_dataset("speech_commands", originals) == dataset
    assert load_dataset("speech_commands", originals, seed=1).train != dataset.train


def test_silence_is_cut_from_the_noises(originals):
    dataset = load_dataset("speech_commands", originals)
    for split, name in (("train", "pink_noise"), ("validation", "running_tap")):
        files = [e.source for e in getattr(dataset, split) if e.class_id == 10]
        assert len(files) == 4  # 2.6 seconds hold 4 whole seconds that start each half second
        for i, file in enumerate(files):
            samples, rate_hz = soundfile.read(file, dtype="int16")
            assert rate_hz == RATE_HZ
            start = i * RATE_HZ // 2
            np.testing.assert_array_equal(samples, NOISES[name][start : start + RATE_HZ])


def test_files_in_word_folders(tmp_path):
    """The validation set is a tenth of train, and by speaker too."""
    for split, count in (("train", 30), ("test", 2)):
        for label in LABELS:
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                silent, prefix = label == "_silence_", "bed_" if label == "_unknown_" else ""
                name = f"{i}" if silent else f"{prefix}{i:08x}_nohash_0"
                (folder / f"{name}.flac").touch()
    dataset = load_dataset("speech_commands", tmp_path)
    assert len(dataset.train) + len(dataset.validation) == 30 * 12
    assert 36 <= len(dataset.validation) <= 36 + 11
    assert not {speaker(e) for e in dataset.train} & {speaker(e) for e in dataset.validation}
    assert len(dataset.test) == 24


def test_a_missing_archive_is_named(tmp_path):
    write_archive(tmp_path, TRAINING, {"./yes/0_nohash_0.wav": SPOKEN})
    with pytest.raises(DatasetError, match=r"speech_commands_test_set_v0\.02\.tar\.gz is missing"):
        load_dataset("speech_commands", tmp_path)


def test_an_archive_cannot_write_elsewhere(tmp_path):
    folder = tmp_path / "in"
    write_archive(folder, TRAINING, {"./yes/0_nohash_0.wav": SPOKEN, "../evil.wav": b"evil"})
    write_archive(folder, TEST, {})
    before = sorted(folder.iterdir())
    with pytest.raises(DatasetError, match="outside the destination"):
        load_dataset("speech_commands", folder)
    assert sorted(folder.iterdir()) == before
