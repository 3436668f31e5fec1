"""A person's own table.  The csv module writes what is read back here."""

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets import DatasetError, load_dataset

ROWS = [(label, f"{label} is number {i}") for i in range(3) for label in ("ham", "spam")]


def write(path: Path, rows, **dialect) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **dialect).writerows(rows)
    return str(path)


def labelled(dataset) -> list[tuple[str, str]]:
    everything = dataset.train + dataset.validation + dataset.test
    return sorted((dataset.labels[e.class_id], e.source) for e in everything)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() and text.lower() not in ("label", "text")
)


@given(st.lists(TEXTS, min_size=3), st.lists(TEXTS, min_size=3))
def test_what_csv_writes_is_read_back(ham, spam):
    rows = [("ham", text) for text in ham] + [("spam", text) for text in spam]
    with tempfile.TemporaryDirectory() as folder:
        dataset = load_dataset(write(Path(folder) / "mail.csv", rows))
    assert labelled(dataset) == sorted(rows)
    assert (dataset.name, dataset.domain, dataset.labels) == ("mail", "text", ("ham", "spam"))
    assert dataset.skipped == []


@pytest.mark.parametrize(
    "header", [["label", "text"], ["Text", " LABEL "], ["id", "text", "label"]]
)
def test_a_header_names_the_columns(tmp_path, header):
    columns = [name.strip().lower() for name in header]
    rows = [
        [dict(zip(("label", "text"), row, strict=True)).get(c, "7") for c in columns]
        for row in ROWS
    ]
    assert labelled(load_dataset(write(tmp_path / "mail.csv", [header, *rows]))) == sorted(ROWS)
    tabs = write(tmp_path / "mail.tsv", [header, *rows], delimiter="\t")
    assert labelled(load_dataset(tabs)) == sorted(ROWS)


def test_tsv_has_no_quoting(tmp_path):
    lines = [f'{label}\t"{text}, said he' for label, text in ROWS]
    (tmp_path / "mail.tsv").write_text("\r\n".join(lines) + "\r\n\r\n")
    expected = sorted((label, f'"{text}, said he') for label, text in ROWS)
    assert labelled(load_dataset(str(tmp_path / "mail.tsv"))) == expected


def test_a_byte_order_mark_is_no_label(tmp_path):
    path = tmp_path / "mail.csv"
    write(path, [("label", "text"), *ROWS])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert labelled(load_dataset(str(path))) == sorted(ROWS)


def test_useless_lines_are_skipped_and_said(tmp_path):
    rows = [*ROWS, ("ham",), ("", "no label"), ("ham", " "), ("spam", "one", "two")]
    dataset = load_dataset(write(tmp_path / "mail.csv", rows))
    assert labelled(dataset) == sorted(ROWS)
    assert [(s.source.rsplit(":", 1)[1], s.reason) for s in dataset.skipped] == [
        ("7", "1 columns, expected 2"),
        ("8", "empty label"),
        ("9", "empty text"),
        ("10", "3 columns, expected 2"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mail.csv", b"1,ham,hello\n", "3 columns and no header"),
        ("mail.csv", b"ham;hello\n", "1 columns and no header"),
        ("mail.csv", b"ham,caf\xe9\n", "not UTF-8 .*save it as UTF-8"),
        ("mail.csv", b'ham,"hello\nham,bye\n', "mail.csv:2: .*correct the line"),
        ("mail.csv", b"", "no class"),
        ("mail.csv", b"class,words\nham,a\nham,b\nham,c\n", r"first column .*class \(1\)"),
        ("mail.json", b"[]", r"neither a \.csv nor a \.tsv"),
    ],
)
def test_refusals_say_what_to_do(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load_dataset(str(tmp_path / name))
