"""A file is whole or as it was: by a limit of this process, as a full disk would be."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.whole_file import write_file


@contextmanager
def room_for(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_does_not_fit_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    write_file(path, b"before")
    with room_for(10), pytest.raises(OSError, match=r"picture\.png cannot be written: File too l"):
        write_file(path, b"x" * 11)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    write_file(path, "a file's name: \udcff")
    assert path.read_text() == "a file's name: \\udcff"


def test_a_link_goes_on_to_lead_where_it_did(tmp_path: Path) -> None:
    (tmp_path / "latest.html").symlink_to("page.html")
    write_file(tmp_path / "latest.html", "a page")
    assert (tmp_path / "latest.html").is_symlink()
    assert (tmp_path / "page.html").read_text() == "a page"


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", b"bytes")
    assert os.read(reader, 9) == b"bytes"
    os.close(reader)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none/picture\.png cannot be written: No such file"):
        write_file(tmp_path / "none" / "picture.png", b"")
