"""SavedModels that triptych did not write, and NAME/model.toml, as scans find them."""

import os
import time
from pathlib import Path

import pytest

from serving.model_config import ModelConfig
from serving.repository import SETTLING, VersionFolder, scan
from serving.version_policy import All, Latest

FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00002": b"weights",
    "variables/variables.data-00001-of-00002": b"",
}


def write_foreign(root: Path, version: int = 1, leave_out: str = "") -> Path:
    folder = root / "cats" / str(version)
    for path, content in FILES.items():
        if path != leave_out:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    return folder


def in_an_hour() -> float:
    return time.time() + 3600


def long_ago() -> float:
    """As on a file server whose clock is ahead: nothing there ever looks old."""
    return time.time() - 3600


def only(root: Path, **options: object) -> VersionFolder:
    ((version,),) = (model.versions.values() for model in scan(root, **options).values())
    return version


def test_a_foreign_saved_model_that_was_left_alone_is_whole(tmp_path):
    write_foreign(tmp_path)
    version = only(tmp_path, clock=in_an_hour)
    assert (version.foreign, version.settling, version.problem) == (True, False, None)


def test_a_graph_without_variables_is_whole(tmp_path):
    (tmp_path / "cats" / "1").mkdir(parents=True)
    (tmp_path / "cats" / "1" / "saved_model.pb").write_bytes(b"graph")
    assert only(tmp_path, clock=in_an_hour).problem is None


@pytest.mark.parametrize("missing", FILES)
def test_a_part_that_is_missing_is_named(tmp_path, missing):
    write_foreign(tmp_path, leave_out=missing)
    version = only(tmp_path, clock=in_an_hour)
    assert version.problem is not None
    assert f"{missing} is missing" in version.problem
    assert version.foreign
    assert not version.settling


def test_an_empty_graph_is_refused(tmp_path):
    (write_foreign(tmp_path) / "saved_model.pb").write_bytes(b"")
    assert "saved_model.pb is empty" in (only(tmp_path, clock=in_an_hour).problem or "")


def test_weights_without_any_shard_are_refused(tmp_path):
    folder = write_foreign(tmp_path)
    for shard in folder.glob("variables/variables.data*"):
        shard.unlink()
    problem = only(tmp_path, clock=in_an_hour).problem
    assert "variables/variables.data-00000-of-00001 is missing" in (problem or "")


def test_ours_without_its_manifest_is_not_foreign(tmp_path):
    """Or a slow copy of an export, its manifest last, would be served without its labels."""
    folder = write_foreign(tmp_path)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "golden.json").write_text("{}")
    version = only(tmp_path, clock=in_an_hour)
    assert not version.foreign
    assert "assets.extra/manifest.json is missing" in (version.problem or "")


def test_a_new_one_waits_until_it_was_left_alone_for_a_while(tmp_path):
    write_foreign(tmp_path)
    changed_seconds = (tmp_path / "cats" / "1" / "saved_model.pb").stat().st_ctime
    soon = only(tmp_path, settle_seconds=5.0, clock=lambda: changed_seconds + 4.9)
    assert (soon.settling, soon.problem) == (True, SETTLING)
    later = only(tmp_path, settle_seconds=5.0, clock=lambda: changed_seconds + 5.5)
    assert (later.settling, later.problem) == (False, None)


def test_or_until_a_second_scan_finds_it_unchanged(tmp_path):
    folder = write_foreign(tmp_path)
    first = scan(tmp_path, clock=long_ago)
    assert first["cats"].versions[1].settling

    (folder / "saved_model.pb").write_bytes(b"a longer graph")
    second = scan(tmp_path, first, clock=long_ago)
    assert second["cats"].versions[1].settling

    third = scan(tmp_path, second, clock=long_ago)
    assert third["cats"].versions[1].problem is None
    assert scan(tmp_path, third, clock=long_ago) == third


def test_an_old_time_that_was_copied_along_does_not_count(tmp_path):
    """`cp -p` and `rsync -t` set it."""
    folder = write_foreign(tmp_path)
    for path in FILES:
        os.utime(folder / path, (0, 0))
    assert only(tmp_path, clock=long_ago).settling


# NAME/model.toml


def test_the_configuration_comes_with_each_version(tmp_path):
    write_foreign(tmp_path, 1)
    write_foreign(tmp_path, 2)
    (tmp_path / "cats" / "model.toml").write_text('version_policy = "all"\nexecutor = "openvino"')

    model = scan(tmp_path, clock=in_an_hour)["cats"]

    assert (model.name, model.problem, model.wanted) == ("cats", None, True)
    assert model.config is not None
    assert model.config.version_policy == All()
    assert [version.config for version in model.versions.values()] == [model.config] * 2


def test_without_one_the_defaults_count(tmp_path):
    write_foreign(tmp_path)
    model = scan(tmp_path)["cats"]
    assert model.config == ModelConfig()
    assert model.versions[1].config.version_policy == Latest(1)


def test_a_wrong_one_leaves_the_last_good_one(tmp_path):
    write_foreign(tmp_path)
    file = tmp_path / "cats" / "model.toml"
    file.write_text("labels = {stable = 1}")
    good = scan(tmp_path, clock=in_an_hour)

    file.write_text("labels = {stable = 0}")
    write_foreign(tmp_path, 2)
    bad = scan(tmp_path, good, clock=in_an_hour)["cats"]
    assert "labels.stable is 0" in (bad.problem or "")
    assert bad.config == good["cats"].config
    assert bad.versions[2].problem is None
    assert bad.versions[2].config == good["cats"].config

    still = scan(tmp_path, {"cats": bad}, clock=in_an_hour)["cats"]
    assert still == bad
    file.unlink()
    assert scan(tmp_path, {"cats": bad}, clock=in_an_hour)["cats"].config == ModelConfig()


def test_at_start_a_wrong_one_refuses_the_models_versions(tmp_path):
    write_foreign(tmp_path)
    (tmp_path / "cats" / "model.toml").write_text("executor = 1")
    model = scan(tmp_path)["cats"]
    assert model.config is None
    assert "cats/model.toml: executor is 1" in (model.problem or "")
    assert model.versions[1].problem == model.problem
    assert not model.versions[1].settling
    assert scan(tmp_path, {"cats": model}, clock=in_an_hour)["cats"] == model


def test_model_toml_is_no_version(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "model.toml").write_text("")
    assert scan(tmp_path) == {}
