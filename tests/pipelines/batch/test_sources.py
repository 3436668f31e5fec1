"""What INPUT may be, and that nothing is read which the user did not give."""

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch.errors import BatchError
from pipelines.batch.reading import chunks, read
from pipelines.batch.sources import open_source
from pipelines.batch.sources.item import Item
from serving.runtime.decoding import Limits


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("b.jpg", "a/2.png", "a/1.JPG", "notes.md", ".hidden/x.png", "a/.x.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def rows(given: object, domain: str = "image", **options: object) -> list[tuple]:
    """(name, content or error) of each input, as a predictor gets it."""
    source = open_source(str(given), domain, **options)
    items = list(source.items())
    assert source.survey().inputs == len(items)
    assert source.survey() == source.survey()
    found = read(items, Limits()).to_pylist()
    return [(row["input"], row["error"] if row["data"] is None else row["data"]) for row in found]


def test_a_folder_is_its_visible_files_of_the_models_kind(photos: Path) -> None:
    names = ["a/1.JPG", "a/2.png", "b.jpg"]
    assert rows(photos) == [(f"{photos}/{name}", name.encode()) for name in names]


def test_links_are_followed_within_the_folder_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (photos / "c.jpg").symlink_to(tmp_path / "secret.jpg")
    (photos / "d.jpg").symlink_to(photos / "b.jpg")
    (photos / "e.jpg").symlink_to(photos / "nothing.jpg")
    (photos / "a" / "circle").symlink_to(photos)
    names = [name.removeprefix(f"{photos}/") for name, _ in rows(photos)]
    assert names == ["a/1.JPG", "a/2.png", "b.jpg", "d.jpg"]


def test_a_pattern_is_the_files_that_fit(photos: Path) -> None:
    assert [name for name, _ in rows(f"{photos}/*")] == [f"{photos}/b.jpg", f"{photos}/notes.md"]
    assert [name for name, _ in rows(f"{photos}/**/*.png")] == [f"{photos}/a/2.png"]


def test_one_file(photos: Path) -> None:
    assert rows(photos / "b.jpg") == [(f"{photos}/b.jpg", b"b.jpg")]


def test_a_list_names_files_beside_it(photos: Path) -> None:
    (photos / "all.lst").write_bytes(b"\xef\xbb\xbfb.jpg\r\n\na/2.png\nnone.jpg")
    assert rows(photos / "all.lst") == [
        ("b.jpg", b"b.jpg"),
        ("a/2.png", b"a/2.png"),
        ("none.jpg", "there is no such file"),
    ]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "out/x"])
def test_a_list_leads_nowhere_else(photos: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (photos / "out").symlink_to(tmp_path)
    (photos / "all.lst").write_text(name)
    ((_, reason),) = rows(photos / "all.lst")
    assert "outside of" in reason
    assert "--root" in reason


def test_a_list_may_be_given_another_root(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other.jpg").write_bytes(b"other")
    (photos / "all.lst").write_text(f"other.jpg\n{tmp_path}/photos/b.jpg\n")
    assert [content for _, content in rows(photos / "all.lst", root=str(tmp_path))] == [
        b"other",
        b"b.jpg",
    ]


def test_a_pipe_is_not_waited_for(photos: Path) -> None:
    os.mkfifo(photos / "pipe.jpg")
    (photos / "all.lst").write_text("pipe.jpg\na\n")
    reasons = [reason for _, reason in rows(photos / "all.lst")]
    assert reasons == ["it is no file", "it cannot be read: Is a directory"]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet"])
def test_a_column_of_texts(tmp_path: Path, ending: str) -> None:
    texts = ["plain", 'with "quotes" and, comma', "谁 'a'", ""]
    file = tmp_path / f"table{ending}"
    match ending:
        case ".parquet":
            pq.write_table(pa.table({"id": range(4), "text": texts}), file)
        case ".jsonl":
            file.write_text("".join(json.dumps({"id": 1, "text": t}) + "\n" for t in texts))
        case ".tsv":
            file.write_text("id\ttext\n" + "".join(f"1\t{t}\n" for t in texts))
        case _:
            quoted = [t.replace('"', '""') for t in texts]
            content = "id,text\n" + "".join(f'1,"{t}"\n' for t in quoted)
            stream = pa.output_stream(str(file), compression="detect")
            stream.write(content.encode())
            stream.close()
    found = rows(file, "text", column="text")
    assert found[:3] == [(text, text) for text in texts[:3]]
    assert found[3] == (f"{file}#3", "column 'text' is empty here")
    assert rows(file, "text") == found  # as it has the usual name
    with pytest.raises(BatchError, match="there is no 'texts'; it has the columns id, text"):
        open_source(str(file), "text", "texts")


def test_a_bad_row_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,a\n2\n3,c\n")
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": \n{"text": 5}\n"x"\n')
    found = rows(tmp_path / "t.csv", "text")
    assert found[1] == (f"{tmp_path}/t.csv#1", "the row has 1 of 2 columns")
    assert found[2] == ("c", "c")
    reasons = [reason for _, reason in rows(tmp_path / "t.jsonl", "text")[1:]]
    assert "no JSON" in reasons[0]
    assert "not a string" in reasons[1]
    assert "no JSON object" in reasons[2]


def test_a_column_of_paths_or_of_files(photos: Path) -> None:
    pq.write_table(pa.table({"path": ["b.jpg", "../x.jpg"], "n": [1, 2]}), photos / "t.parquet")
    found = rows(photos / "t.parquet")
    assert found[0] == ("b.jpg", b"b.jpg")
    assert "outside of" in found[1][1]
    kept = [{"bytes": b"one", "path": "1.jpg"}, {"bytes": b"two", "path": None}]
    pq.write_table(pa.table({"image": kept}), photos / "t.parquet")
    assert rows(photos / "t.parquet") == [("1.jpg", b"one"), (f"{photos}/t.parquet#1", b"two")]
    pq.write_table(pa.table({"content": [b"one", b"two"]}), photos / "t.parquet")
    assert [content for _, content in rows(photos / "t.parquet")] == [b"one", b"two"]


def test_a_tar_is_its_members_of_the_models_kind(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for name in ("x/0001.jpg", "x/0001.json", "../../0002.seg.png", "0003.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
        link = tarfile.TarInfo("0004.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = rows(tmp_path / "shard.tar")
    assert found == [("x/0001", b"x/0001.jpg"), ("../../0002", b"../../0002.seg.png")]
    whole = (tmp_path / "shard.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1000])
    with pytest.raises(BatchError, match="no whole"):
        open_source(f"{tmp_path}/cut.tar", "image").survey()


def test_standard_input_is_texts_or_paths(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows("-", "text", stdin=io.BytesIO(b"one\n\xff\n")) == [
        ("one", b"one"),
        ("\\udcff", b"\xff"),
    ]
    monkeypatch.chdir(photos)
    assert rows("-", stdin=io.BytesIO(b"b.jpg\n")) == [("b.jpg", b"b.jpg")]


def test_a_txt_is_paths_but_texts_to_a_model_of_text(photos: Path) -> None:
    (photos / "all.txt").write_text("b.jpg\n")
    assert rows(photos / "all.txt") == [("b.jpg", b"b.jpg")]
    assert rows(photos / "all.txt", "text") == [("b.jpg", b"b.jpg")]
    assert rows(photos, "text") == [(f"{photos}/all.txt", b"b.jpg\n")]


def test_the_fingerprint_tells_changes(photos: Path) -> None:
    before = open_source(str(photos), "image").survey()
    os.utime(photos / "b.jpg", ns=(1, 1))
    touched = open_source(str(photos), "image").survey()
    (photos / "z.jpg").write_bytes(b"")
    assert len({before, touched, open_source(str(photos), "image").survey()}) == 3


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("nothing", "is not there"),
        ("photos/notes.md", "nothing that a model of image reads"),
        ("xyz://bucket/a", "cannot be opened"),
    ],
)
def test_what_is_no_input(photos: Path, given: str, reason: str) -> None:
    given = given if "://" in given else str(photos.parent / given)
    with pytest.raises(BatchError, match=reason):
        open_source(given, "image")


def test_names_that_are_not_utf_8(photos: Path) -> None:
    (photos / os.fsdecode(b"\xff.jpg")).write_bytes(b"odd")
    assert rows(photos)[-1] == (f"{photos}/\\udcff.jpg", b"odd")


def test_too_large_a_file_is_not_read(photos: Path) -> None:
    found = read(list(open_source(str(photos), "image").items()), Limits(max_input_bytes=5))
    assert found["data"].to_pylist() == [None, None, b"b.jpg"]
    assert "7 bytes, and 5 are allowed" in found["error"][0].as_py()


def test_chunks_are_of_one_shard_each_and_leave_out_what_is_done() -> None:
    items = [Item(str(i), data="", size=2**22 if i == 7 else 1) for i in range(20)]
    found = list(chunks(items, 6, frozenset({2}), 4))
    assert [(c.shard, [int(i.name) for i in c.items]) for c in found] == [
        (0, [0, 1, 2, 3]),
        (0, [4, 5]),
        (1, [6, 7, 8, 9]),
        (1, [10, 11]),
        (3, [18, 19]),
    ]
    large = [Item(str(i), data="", size=7 * 2**20) for i in range(5)]
    assert [len(c.items) for c in chunks(large, 6, frozenset(), 4)] == [2, 2, 1]
