"""Scans after others: what could be read before and cannot be now, what changed, what did not."""

import os
import shutil
import time
from dataclasses import replace

import pytest

from serving.errors import RepositoryError
from serving.repository import scan
from tests.serving.manager_fakes import publish


def in_an_hour():
    return time.time() + 3600


def look(root, seen=None):
    return scan(root, seen, clock=in_an_hour)


def make_unreadable(path):
    """Even root cannot follow a link to itself."""
    path.rename(path.with_name(f".was-{path.name}"))
    path.symlink_to(path.name)


def make_readable(path):
    path.unlink()
    path.with_name(f".was-{path.name}").rename(path)


# What cannot be read


def test_a_model_that_cannot_be_read_is_as_it_was_and_holds_up_no_other(root):
    publish(root, "cats", 1, 2, config="labels = {stable = 1}")
    publish(root, "dogs", 1)
    before = look(root)

    make_unreadable(root / "cats")
    publish(root, "dogs", 2)
    now = look(root, before)

    assert "cannot list its folder: Too many levels" in now["cats"].problem
    assert now["cats"] == replace(before["cats"], problem=now["cats"].problem)
    assert set(now["dogs"].versions) == {1, 2}
    make_readable(root / "cats")
    assert look(root, now)["cats"] == before["cats"]


def test_a_model_that_never_could_be_read_is_known_and_has_no_versions(root):
    publish(root, "cats", 1)
    make_unreadable(root / "cats")
    model = look(root)["cats"]
    assert (model.config, model.versions) == (None, {})
    assert "cannot list its folder" in model.problem
    assert look(root, {"cats": model})["cats"] == model


def test_a_version_that_cannot_be_read_is_there_and_says_so(root):
    """Taken for absent, the last of a model would be unloaded."""
    publish(root, "cats", 1, 2)
    make_unreadable(root / "cats" / "2")
    versions = look(root)["cats"].versions
    assert versions[1].problem is None
    assert "saved_model.pb is missing or cannot be read" in versions[2].problem


class Meanwhile(dict):
    """An earlier scan; something happens when the present one has listed the models."""

    def __init__(self, happens):
        super().__init__()
        self._happens = happens

    def get(self, name, default=None):
        self._happens()
        return default


def test_a_repository_that_vanishes_during_a_scan_is_not_an_empty_one(root):
    publish(root, "cats", 1)
    vanishing = Meanwhile(lambda: root.rename(root.with_name("elsewhere")))
    with pytest.raises(RepositoryError, match="cannot list"):
        look(root, vanishing)


def test_a_model_that_vanishes_during_a_scan_is_absent(root):
    publish(root, "cats", 1)
    vanishing = Meanwhile(lambda: shutil.rmtree(root / "cats"))
    assert look(root, vanishing) == {}


@pytest.mark.parametrize("entry", ["{}/folder", "folder/{}"])
def test_a_link_to_a_whole_disk_ends_and_is_named(root, tmp_path, monkeypatch, entry):
    monkeypatch.setattr("serving.repository.MAX_FILES", 20)
    publish(root, "cats", 1)
    (root / "cats" / "1" / "assets").symlink_to(tmp_path / "disk")
    for i in range(30):
        (tmp_path / "disk" / entry.format(i)).mkdir(parents=True)
        assert look(root)["cats"].versions[1].problem is None or i > 5
    assert "it has over 20 files or folders" in look(root)["cats"].versions[1].problem


# What changed


def give_rights(file):
    file.chmod(0o640)


def copy_and_keep_the_time(file):
    status = file.stat()
    file.write_bytes(b"GRAPH")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("touch", [give_rights, copy_and_keep_the_time])
def test_what_leaves_size_and_time_alone_changes_the_stamp(root, touch):
    """A file that could not be read may be readable now."""
    publish(root, "cats", 1)
    before = look(root)["cats"].versions[1]
    touch(root / "cats" / "1" / "saved_model.pb")
    after = look(root)["cats"].versions[1]
    assert after.fingerprint == before.fingerprint
    assert after.stamp != before.stamp


def test_what_did_not_change_is_not_judged_again(root):
    """To read each manifest each second takes the interpreter from who answers."""
    publish(root, "cats", 1)
    first = look(root)["cats"]
    judged = replace(first, versions={1: replace(first.versions[1], problem="as judged before")})

    assert look(root, {"cats": judged})["cats"].versions[1].problem == "as judged before"
    give_rights(root / "cats" / "1" / "saved_model.pb")
    assert look(root, {"cats": judged})["cats"].versions[1].problem is None


def test_another_configuration_reaches_versions_that_did_not_change(root):
    publish(root, "cats", 1, config="executor = 1")
    wrong = look(root)
    assert wrong["cats"].versions[1].problem == wrong["cats"].problem
    publish(root, "cats", config='executor = "openvino"')
    right = look(root, wrong)
    assert right["cats"].versions[1].problem is None
    assert right["cats"].versions[1].config.executor == "openvino"
    publish(root, "cats", config='executor = "tensorflow"')
    assert look(root, right)["cats"].versions[1].config.executor == "tensorflow"
