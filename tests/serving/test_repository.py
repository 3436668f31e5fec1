"""Versions that triptych exported, as scans find them: whole, half-copied, changed, linked."""

import json
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.triptych.v1 import manifest_pb2
from serving.errors import RepositoryError, TriptychError
from serving.repository import MANIFEST, VersionFolder, scan

DATA = "variables/variables.data-00000-of-00001"
FILES = {
    "saved_model.pb": b"graph" * 20,
    DATA: b"weights" * 100,
    "variables/variables.index": b"index",
    "assets.extra/golden.json": b"{}",
}


def write_version(
    root: Path, name: str = "cats", version: int | str = 1, *, schema_version: int = 1
) -> Path:
    folder = root / name / str(version)
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    write_manifest(folder, {path: len(content) for path, content in FILES.items()}, schema_version)
    return folder


def write_manifest(folder: Path, sizes: dict[str, int], schema_version: int = 1) -> None:
    manifest = manifest_pb2.Manifest(schema_version=schema_version, name="cats", labels=["a"])
    for path, size_bytes in sizes.items():
        manifest.files.add(path=path, bytes=size_bytes)
    (folder / MANIFEST).write_text(json_format.MessageToJson(manifest))


def only(root: Path) -> VersionFolder:
    ((folder,),) = (model.versions.values() for model in scan(root).values())
    return folder


def test_whole_versions_are_found(tmp_path):
    write_version(tmp_path, "cats", 3)
    write_version(tmp_path, "cats", 12)
    write_version(tmp_path, "birds.v2_small-x", 1700000000)

    found = scan(tmp_path)

    assert {name: set(model.versions) for name, model in found.items()} == {
        "cats": {3, 12},
        "birds.v2_small-x": {1700000000},
    }
    folder = found["cats"].versions[12]
    assert (folder.name, folder.version, folder.path) == ("cats", 12, tmp_path / "cats" / "12")
    assert folder.problem is None


@pytest.mark.parametrize(
    "name", [".hidden", ".tmp-cats", "_cats", "-cats", "c ats", "ça", "cats\n"]
)
def test_folders_that_are_no_models_are_left_out(tmp_path, name):
    write_version(tmp_path, name)
    assert scan(tmp_path) == {}


@pytest.mark.parametrize(
    "version",
    [
        "0",
        "01",
        "001",
        "-1",
        "+1",
        "1.5",
        "v1",
        "1_0",
        ".tmp-3",
        "3.tmp",
        "1.bak",
        "٣",
        "latest",
        str(2**63),
        "1\n",
    ],
)
def test_folders_that_are_no_versions_are_left_out(tmp_path, version):
    write_version(tmp_path, version=version)
    assert scan(tmp_path) == {}


def test_files_and_models_without_a_version_are_left_out(tmp_path):
    (tmp_path / "README.md").write_text("models")
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "4").write_text("no folder")
    (tmp_path / "dogs").mkdir()
    assert scan(tmp_path) == {}


def delete(path):
    return lambda folder: (folder / path).unlink()


def write(path, content):
    return lambda folder: (folder / path).write_bytes(content)


def declare(path, size_bytes):
    return lambda folder: write_manifest(folder, {path: size_bytes})


def replace_with_folder(folder):
    (folder / DATA).unlink()
    (folder / DATA).mkdir()


def replace_with_pipe(folder):
    (folder / DATA).unlink()
    os.mkfifo(folder / DATA)


def leave_out_saved_model(folder):
    (folder / "saved_model.pb").unlink()
    write_manifest(folder, {DATA: 700})


def link_to_nothing(folder):
    (folder / DATA).unlink()
    (folder / DATA).symlink_to("gone")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (delete("saved_model.pb"), "saved_model.pb is missing"),
        (delete(MANIFEST), f"{MANIFEST} is missing"),
        (delete(DATA), f"{DATA} is missing"),
        (replace_with_folder, f"{DATA} is missing"),
        (replace_with_pipe, f"{DATA} is missing"),
        (leave_out_saved_model, "saved_model.pb is missing"),
        (link_to_nothing, f"{DATA} is missing"),
        (write(DATA, b"weights"), f"{DATA} has 7 of 700 bytes: still being copied?"),
        (write(DATA, b""), f"{DATA} has 0 of 700 bytes: still being copied?"),
        (write(DATA, b"w" * 4096), f"{DATA} has 4,096 bytes, and {MANIFEST} says 700"),
        (write(MANIFEST, b""), f"{MANIFEST} is no Manifest"),
        (write(MANIFEST, b'{"schemaVersion": 1, "files": [{"pa'), f"{MANIFEST} is no Manifest"),
        (write(MANIFEST, b'{"schemaVersion": 1}\xff'), f"{MANIFEST} is no Manifest"),
        (write(MANIFEST, b'{"schemaVersion": 2, "madeLater": [1]}'), "is of schema 2"),
        (write(MANIFEST, b"{}"), "is of schema 0"),
        (declare("../../dogs/1/saved_model.pb", 100), "outside of its folder"),
        (declare("variables/../../../dogs/1/saved_model.pb", 100), "outside of its folder"),
        (declare("/etc/hostname", 1), "outside of its folder"),
        (declare("", 0), " is missing"),
        (declare("a\0b", 0), " is missing"),
    ],
)
def test_what_is_not_whole_says_why(tmp_path, damage, problem):
    write_version(tmp_path / "elsewhere", "dogs")
    folder = write_version(tmp_path / "root", "cats")
    damage(folder)
    assert problem in (only(tmp_path / "root").problem or "")


def test_one_bad_version_leaves_the_others(tmp_path):
    write_version(tmp_path, "cats", 1)
    (write_version(tmp_path, "cats", 2) / DATA).unlink()
    write_version(tmp_path, "dogs", 1)

    found = scan(tmp_path)

    assert found["cats"].versions[2].problem is not None
    assert found["cats"].versions[1].problem is None
    assert found["dogs"].versions[1].problem is None


@settings(deadline=None)  # it writes files
@given(order=st.permutations([*FILES, MANIFEST]), data=st.data())
def test_a_copy_is_whole_at_its_last_byte_and_no_sooner(order, data):
    with tempfile.TemporaryDirectory() as scratch:
        source = write_version(Path(scratch, "source"))
        target = Path(scratch, "root", "cats", "1")
        target.mkdir(parents=True)
        stop = data.draw(st.integers(0, len(order) - 1))
        last_size = (source / order[stop]).stat().st_size
        copied = data.draw(st.integers(0, last_size - 1))
        for path in order[: stop + 1]:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target / path)
        os.truncate(target / order[stop], copied)

        assert only(target.parent.parent).problem is not None

        for path in order[stop:]:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target / path)
        assert only(target.parent.parent).problem is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["schemaVersion", "files", "path", "bytes", "labels", "x"]), inner
        )
    ),
)


@settings(deadline=None)  # it writes files
@given(content=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_manifest_breaks_the_scan(content):
    with tempfile.TemporaryDirectory() as scratch:
        write(MANIFEST, content)(write_version(Path(scratch)))
        if only(Path(scratch)).problem is None:
            assert float(json.loads(content)["schemaVersion"]) == 1


def test_deeply_nested_manifest_is_a_problem(tmp_path):
    write(MANIFEST, b"[" * 100_000)(write_version(tmp_path))
    assert "is no Manifest" in (only(tmp_path).problem or "")


def test_fingerprint_stays_while_nothing_changes(tmp_path):
    write_version(tmp_path, "cats")
    assert only(tmp_path) == only(tmp_path)


def touch_one_nanosecond_later(folder):
    status = (folder / DATA).stat()
    os.utime(folder / DATA, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def grow_and_keep_the_time(folder):
    status = (folder / DATA).stat()
    (folder / DATA).write_bytes(b"w" * 701)
    os.utime(folder / DATA, ns=(status.st_atime_ns, status.st_mtime_ns))


def rename(folder):
    (folder / DATA).rename(folder / "variables" / "other")


@pytest.mark.parametrize(
    "change",
    [
        touch_one_nanosecond_later,
        grow_and_keep_the_time,
        rename,
        delete(DATA),
        write("variables/new", b""),
        write("assets.extra/golden.json", b"[]"),
    ],
)
def test_fingerprint_changes_with_any_file(tmp_path, change):
    folder = write_version(tmp_path)
    before = only(tmp_path).fingerprint
    change(folder)
    assert only(tmp_path).fingerprint != before


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_no_folder_to_scan_is_an_error(tmp_path, make):
    root = tmp_path / "model_repository"
    make(root)
    with pytest.raises(RepositoryError, match=r"cannot list .*model_repository") as caught:
        scan(root)
    assert isinstance(caught.value, TriptychError)


def test_links_to_versions_and_models_are_followed(tmp_path):
    stored = write_version(tmp_path / "store", "anything")
    (tmp_path / "root" / "cats").mkdir(parents=True)
    (tmp_path / "root" / "cats" / "7").symlink_to(stored)
    (tmp_path / "root" / "dogs").symlink_to(tmp_path / "root" / "cats")
    (tmp_path / "root" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "root" / "cats" / "8").symlink_to(tmp_path / "nowhere")

    found = scan(tmp_path / "root")

    assert {name: set(model.versions) for name, model in found.items()} == {
        "cats": {7},
        "dogs": {7},
    }
    assert found["cats"].versions[7].problem is None


def test_kubernetes_volume(tmp_path):
    """As kubelet's AtomicWriter lays it out: a dated folder, `..data`, a link per first part."""
    folder = write_version(tmp_path, "cats")
    first, second = folder / "..2026_01_01", folder / "..2026_01_02"
    first.mkdir()
    for part in ("saved_model.pb", "variables", "assets.extra"):
        (folder / part).rename(first / part)
        (folder / part).symlink_to(Path("..data", part))
    shutil.copytree(first, second)
    (second / "assets.extra" / "golden.json").write_bytes(b"[]")  # of the same size
    (folder / "..data").symlink_to(first.name)
    before = only(tmp_path)
    (folder / "..next").symlink_to(second.name)
    (folder / "..next").rename(folder / "..data")
    after = only(tmp_path)

    assert before.problem is None
    assert after.problem is None
    assert after.fingerprint != before.fingerprint


def test_link_to_a_folder_above_ends(tmp_path):
    folder = write_version(tmp_path)
    for name in "ab":
        (folder / "variables" / name).symlink_to(folder)
    assert only(tmp_path).problem is None


def test_files_that_come_and_go_never_break_the_scan(tmp_path):
    root, source = tmp_path / "root", write_version(tmp_path / "source")
    root.mkdir()

    def copy_and_delete():
        for _ in range(100):
            shutil.copytree(source, root / "cats" / "1")
            shutil.rmtree(root / "cats")

    writer = threading.Thread(target=copy_and_delete)
    writer.start()
    while writer.is_alive():
        assert set(scan(root)) <= {"cats"}
    assert scan(root) == {}
