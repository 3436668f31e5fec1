"""The cache is private and whole, and losing it is no error."""

import os
import stat
from pathlib import Path

import pytest

from serving.runtime import cache as module
from serving.runtime.cache import Cache


def test_what_was_written_is_read_by_the_next(tmp_path: Path) -> None:
    Cache(tmp_path / "a" / "b").write("key", b"value")
    later = Cache(tmp_path / "a" / "b")
    assert later.read("key") == b"value"
    assert later.read("another") is None
    later.write("key", b"new")
    assert Cache(tmp_path / "a" / "b").read("key") == b"new"


def test_a_key_is_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache = Cache(folder)
    for key in ("../../escape", "/etc/passwd", "a" * 10_000, "", "\0"):
        cache.write(key, key.encode())
        assert cache.read(key) == key.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert len(list(folder.iterdir())) == 5


def test_it_is_private(tmp_path: Path) -> None:
    """What is read from it is run: nobody else may write there, and none needs to read."""
    Cache(tmp_path / "cache").write("key", b"value")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    (path,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cache"
    Cache(folder).write("key", b"planted")
    folder.chmod(mode)
    cache = Cache(folder)
    assert cache.read("key") is None
    cache.write("other", b"value")
    assert len(list(folder.iterdir())) == 1


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cache(tmp_path / "cache").write("key", b"planted")
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert Cache(tmp_path / "cache").read("key") is None


def test_no_folder_keeps_nothing() -> None:
    cache = Cache(None)
    cache.write("key", b"value")
    assert cache.read("key") is None


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    cache.write("key", b"value")
    assert cache.read("key") is None


def test_a_folder_that_is_gone_keeps_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    cache.write("key", b"value")
    assert cache.read("key") is None


def full_disk(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_what_is_cut_short_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when it is put in its place: the old value stays, and no rubbish."""
    Cache(tmp_path / "cache").write("key", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        Cache(tmp_path / "cache").write("key", b"new")
    assert Cache(tmp_path / "cache").read("key") == b"old"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_what_was_not_used_for_longest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 25)
    cache = Cache(tmp_path / "cache")
    for i, key in enumerate(("a", "b")):
        cache.write(key, key.encode() * 10)
        (newest,) = (
            p for p in (tmp_path / "cache").iterdir() if p.read_bytes()[:1] == key.encode()
        )
        os.utime(newest, (i, i))
    assert cache.read("a") == b"a" * 10  # which makes it the newer
    cache.write("c", b"c" * 10)
    assert cache.read("b") is None
    assert cache.read("a") == b"a" * 10
    assert cache.read("c") == b"c" * 10


def test_another_server_that_clears_up_at_the_same_time_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    cache.write("theirs", b"value")
    scan = os.scandir

    def scan_and_lose(folder: Path) -> list[os.DirEntry[str]]:
        entries = list(scan(folder))
        for entry in entries:
            if Path(entry.path).read_bytes() == b"value":
                Path(entry.path).unlink()
        return entries

    monkeypatch.setattr(os, "scandir", scan_and_lose)
    cache.write("ours", b"kept")
    monkeypatch.undo()
    cache.write("later", b"kept too")
    assert (cache.read("ours"), cache.read("later")) == (b"kept", b"kept too")


def test_one_at_a_time_works_a_thing_out(tmp_path: Path) -> None:
    """Be they two processes, which differ in that each has opened the file itself."""
    first = Cache(tmp_path).claim("key")
    with first:
        assert Cache(tmp_path).claim("key") is None
        with Cache(tmp_path).claim("another"):
            assert Cache(tmp_path).claim("key") is None
    with Cache(tmp_path).claim("key"):
        assert Cache(tmp_path).claim("key") is None
