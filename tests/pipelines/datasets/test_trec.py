"""TREC in both layouts, from lines of the originals."""

from pathlib import Path

import pytest

from pipelines.datasets import DatasetError, load_dataset

LABELS = ("abbreviation", "description", "entity", "human", "location", "number")
# The first question of each class in train_5500.label, and the one line that isn't ASCII.
ORIGINAL_TRAIN = """\
DESC:manner How did serfdom develop in and then leave Russia ?
ENTY:cremat What films featured the character Popeye Doyle ?
ABBR:exp What is the full form of .com ?
HUM:ind What contemptible scoundrel stole the cork from my lunch ?
NUM:date When was Ozzy Osbourne born ?
LOC:city Which city has the oldest relationship as a sister\xf0city with Los Angeles ?
"""
ORIGINAL_TEST = """\
NUM:dist How far is it from Denver to Aspen ?
LOC:city What county is Modesto , California in ?
"""


def as_table(original: str) -> str:
    lines = (line.partition(" ") for line in original.splitlines())
    return "".join(f"{label.partition(':')[0]}\t{text}\n" for label, _, text in lines)


def write_original(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train_5500.label").write_bytes((ORIGINAL_TRAIN * 10).encode("latin-1"))
    (folder / "TREC_10.label").write_bytes(ORIGINAL_TEST.encode("latin-1"))


def write_table(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trec.train.tsv").write_text(as_table(ORIGINAL_TRAIN * 10), "utf-8")
    (folder / "trec.test.tsv").write_text(as_table(ORIGINAL_TEST), "utf-8")


@pytest.mark.parametrize("write", [write_original, write_table])
@pytest.mark.parametrize("inside", ["", "trec", "text"])
def test_both_layouts_give_the_same(tmp_path, write, inside):
    write(tmp_path / inside)
    dataset = load_dataset("trec", tmp_path)
    assert (dataset.domain, dataset.labels, dataset.skipped) == ("text", LABELS, [])
    assert [(dataset.labels[e.class_id], e.source) for e in dataset.test] == [
        ("number", "How far is it from Denver to Aspen ?"),
        ("location", "What county is Modesto , California in ?"),
    ]
    assert {(dataset.labels[e.class_id], e.source) for e in dataset.train} == {
        ("description", "How did serfdom develop in and then leave Russia ?"),
        ("entity", "What films featured the character Popeye Doyle ?"),
        ("abbreviation", "What is the full form of .com ?"),
        ("human", "What contemptible scoundrel stole the cork from my lunch ?"),
        ("number", "When was Ozzy Osbourne born ?"),
        (
            "location",
            "Which city has the oldest relationship as a sister\xf0city with Los Angeles ?",
        ),
    }
    assert (len(dataset.train), len(dataset.validation)) == (54, 6)
    assert {e.class_id for e in dataset.validation} == set(range(6))


def test_a_cached_original_is_not_downloaded(tmp_path):
    write_original(tmp_path / "trec")
    assert len(load_dataset("trec", cache=tmp_path).test) == 2


def test_a_line_without_a_known_class_is_skipped(tmp_path):
    write_original(tmp_path)
    with (tmp_path / "TREC_10.label").open("ab") as file:
        file.write(b"WHAT:ever Why ?\nLOC:city\n\n")
    dataset = load_dataset("trec", tmp_path)
    assert len(dataset.test) == 2
    assert [s.source.rsplit(":", 1)[1] for s in dataset.skipped] == ["3", "4"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"no TREC in .*train_5500\.label and TREC_10\.label"):
        load_dataset("trec", tmp_path)
