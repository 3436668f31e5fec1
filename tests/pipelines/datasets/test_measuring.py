"""What a model is measured on: data as they are, without a split of ours."""

from pathlib import Path

import pytest

from pipelines.datasets import DatasetError, load_dataset, load_labelled


def fill(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return str(root)


def test_all_of_a_folder_without_splits_however_few_there_are(tmp_path):
    found = load_labelled(fill(tmp_path / "pets", "cat/0.jpg", "dog/0.jpg", "dog/1.jpg"))
    assert (found.name, found.domain, found.split) == ("pets", "image", "all of the data")
    assert [(found.labels[e.class_id], Path(e.source).name) for e in found.examples] == [
        ("cat", "0.jpg"),
        ("dog", "0.jpg"),
        ("dog", "1.jpg"),
    ]
    assert found.total == 3


def test_one_class_is_enough(tmp_path):
    assert load_labelled(fill(tmp_path, "cat/0.jpg")).labels == ("cat",)


def test_the_test_split_alone_where_there_is_one(tmp_path):
    found = load_labelled(fill(tmp_path, "train/a/0.jpg", "train/b/0.jpg", "test/b/1.jpg"))
    assert [Path(e.source).name for e in found.examples] == ["1.jpg"]
    assert (found.split, found.total) == ("the test split", 3)


def test_all_of_a_table(tmp_path):
    (tmp_path / "mail.csv").write_text("ham,hello\nspam,buy\nspam\n")
    found = load_labelled(str(tmp_path / "mail.csv"))
    assert [(found.labels[e.class_id], e.source) for e in found.examples] == [
        ("ham", "hello"),
        ("spam", "buy"),
    ]
    assert [s.reason for s in found.skipped] == ["1 columns, expected 2"]


def test_the_test_split_of_a_known_data_set(tmp_path):
    lines = [f"{code}\tquestion {i}" for i in range(3) for code in ("HUM", "LOC")]
    (tmp_path / "trec.train.tsv").write_text("\n".join(lines))
    (tmp_path / "trec.test.tsv").write_text("\n".join(lines[:2]))
    found = load_labelled("trec", tmp_path)
    assert found.examples == load_dataset("trec", tmp_path).test
    assert (found.split, found.total) == ("the test split", 8)


def test_an_empty_table_says_so(tmp_path):
    (tmp_path / "mail.csv").write_text("label,text\n")
    with pytest.raises(DatasetError, match=r"mail\.csv: there is no example"):
        load_labelled(str(tmp_path / "mail.csv"))


def test_data_dir_is_for_known_names(tmp_path):
    with pytest.raises(DatasetError, match="--data-dir is for the known"):
        load_labelled(str(tmp_path), tmp_path)
