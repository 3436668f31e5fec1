"""A person's own folder: what is listed, what is skipped with a reason, what is refused."""

from pathlib import Path

import pytest

from pipelines.datasets import DatasetError, load_dataset


def fill(root: Path, *names: str, content: bytes = b"x") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def pets(root: Path, count: int = 3) -> Path:
    return fill(root, *(f"{label}/{i}.jpg" for label in ("dog", "cat") for i in range(count)))


def sources(examples):
    return sorted(Path(e.source) for e in examples)


def test_classes_are_the_folders_sorted(tmp_path):
    dataset = load_dataset(str(pets(tmp_path / "pets", count=20)))
    assert (dataset.name, dataset.domain, dataset.labels) == ("pets", "image", ("cat", "dog"))
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [32, 4, 4]
    everything = dataset.train + dataset.validation + dataset.test
    assert sources(everything) == sorted((tmp_path / "pets").glob("*/*"))
    assert all(dataset.labels[e.class_id] == Path(e.source).parent.name for e in everything)
    assert dataset.skipped == []


def test_listing_depends_on_the_seed_alone(tmp_path):
    one, two = (pets(tmp_path / name / "pets", count=20) for name in ("a", "b"))

    def splits(root, seed):
        dataset = load_dataset(str(root), seed=seed)
        return [
            [(Path(e.source).relative_to(root), e.class_id) for e in split]
            for split in (dataset.train, dataset.validation, dataset.test)
        ]

    assert splits(one, 1) == splits(two, 1)
    assert splits(one, 1) != splits(one, 2)


@pytest.mark.parametrize(
    ("extension", "domain"), [("JPEG", "image"), ("flac", "audio"), ("txt", "text")]
)
def test_the_domain_is_told_by_extensions(tmp_path, extension, domain):
    fill(tmp_path, *(f"{label}/{i}.{extension}" for label in "ab" for i in range(3)))
    assert load_dataset(str(tmp_path)).domain == domain


def test_mixed_domains_are_counted(tmp_path):
    fill(pets(tmp_path), "cat/purr.wav", "dog/bark.wav")
    with pytest.raises(DatasetError, match="2 audio, 6 image files"):
        load_dataset(str(tmp_path))


def test_a_text_file_is_one_example(tmp_path):
    fill(
        tmp_path, *(f"{label}/{i}.txt" for label in "ab" for i in range(3)), content=b" \xc3\xa9\n"
    )
    fill(tmp_path, "a/bom.txt", content=b"\xef\xbb\xbfwith a mark")
    fill(tmp_path, "a/empty.txt", content=b" \n")
    fill(tmp_path, "b/latin.txt", content=b"\xe9t\xe9")
    dataset = load_dataset(str(tmp_path))
    everything = dataset.train + dataset.validation + dataset.test
    assert sorted(e.source for e in everything) == ["with a mark"] + ["\xe9"] * 6
    assert [(Path(s.source).name, s.reason.split(":")[0]) for s in dataset.skipped] == [
        ("empty.txt", "empty text"),
        ("latin.txt", "not UTF-8"),
    ]


def test_the_folders_own_splits_are_kept(tmp_path):
    for split, count in (("train", 20), ("test", 2)):
        pets(tmp_path / split, count)
    dataset = load_dataset(str(tmp_path))
    assert sources(dataset.test) == sorted((tmp_path / "test").glob("*/*"))
    assert sources(dataset.train + dataset.validation) == sorted((tmp_path / "train").glob("*/*"))
    assert len(dataset.validation) == 4

    pets(tmp_path / "val", 1)
    dataset = load_dataset(str(tmp_path))
    assert sources(dataset.validation) == sorted((tmp_path / "val").glob("*/*"))
    assert sources(dataset.train) == sorted((tmp_path / "train").glob("*/*"))


def test_a_train_is_also_a_vehicle(tmp_path):
    fill(tmp_path, *(f"{label}/{i}.png" for label in ("train", "bus") for i in range(3)))
    assert load_dataset(str(tmp_path)).labels == ("bus", "train")


def test_what_is_left_out_is_said(tmp_path):
    root = fill(
        pets(tmp_path / "pets"),
        *("README.md", "cat/notes.doc", "cat/noextension", "dog/puppies/1.jpg"),
        *("cat/.DS_Store", "dog/Thumbs.db", ".git/config", "__MACOSX/cat/1.jpg"),
    )
    (root / "cat" / "again.jpg").symlink_to(root / "cat" / "0.jpg")
    fill(tmp_path, "secret/1.jpg")
    (root / "cat" / "secret.jpg").symlink_to(tmp_path / "secret" / "1.jpg")
    (root / "cat" / "nothing.jpg").symlink_to(tmp_path / "nothing.jpg")
    (root / "secrets").symlink_to(tmp_path / "secret")
    dataset = load_dataset(str(root))
    everything = dataset.train + dataset.validation + dataset.test
    assert [p.name for p in sources(everything) if p.parent.name == "cat"] == [
        *("0.jpg", "1.jpg", "2.jpg", "again.jpg")
    ]
    assert {Path(s.source).relative_to(root).as_posix(): s.reason for s in dataset.skipped} == {
        "README.md": "not in a class folder",
        "cat/notes.doc": "unknown extension .doc",
        "cat/noextension": "unknown extension (none)",
        "cat/secret.jpg": "a link that leaves the data set's folder",
        "cat/nothing.jpg": "a link to nothing",
        "dog/puppies": "a folder inside a class folder",
        "secrets": "a link that leaves the data set's folder",
    }


def test_a_folder_reached_by_a_link_is_not_left(tmp_path):
    pets(tmp_path / "pets")
    (tmp_path / "pets" / "emu").symlink_to(tmp_path / "pets" / "dog")
    (tmp_path / "link").symlink_to(tmp_path / "pets")
    dataset = load_dataset(str(tmp_path / "link"))
    assert (dataset.labels, dataset.skipped) == (("cat", "dog", "emu"), [])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["1.jpg", "2.jpg"], "no class folders in .*: expected .*/CLASS/file; found 2 files"),
        ([], "no class folders in .*found 0 files"),
        (["cat/1.jpg", "cat/2.jpg", "cat/3.jpg"], r"one class \(cat\)"),
        ([f"{c}/{i}.jpg" for c in "ab" for i in range(2)], r"at least 3.*a \(2\), b \(2\)"),
        (["a/1.doc", "b/2.doc"], r"no examples .*skipped 2 .*unknown extension \.doc.*\.jpg"),
        (["train/1.jpg", "test/1.jpg"], "no class folders in .*test"),
        (["train/a/1.jpg", "train/b/1.jpg"], "has train but no test: add .*test/CLASS/file"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/c/1.jpg"], r"train: .*a \(1\), b \(1\), c \(0\)"),
        (["train/a/1.jpg", "val/a/1.jpg", "validation/a/1.jpg"], "both validation/ and val/"),
    ],
)
def test_refusals_say_what_to_do(tmp_path, files, message):
    fill(tmp_path, *files)
    with pytest.raises(DatasetError, match=message):
        load_dataset(str(tmp_path))


def test_unknown_data(tmp_path):
    with pytest.raises(DatasetError, match=r"'cifra10': neither a known name \(cifar10, "):
        load_dataset("cifra10")
    with pytest.raises(DatasetError, match="--data-dir is for the known data sets"):
        load_dataset(str(pets(tmp_path)), tmp_path)
    with pytest.raises(DatasetError, match="no folder"):
        load_dataset("cifar10", tmp_path / "nowhere")
