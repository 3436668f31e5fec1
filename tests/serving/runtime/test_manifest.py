"""A version folder is what was exported, or the first thing that is wrong with it is named."""

import json
from pathlib import Path

import pytest

from serving.errors import BadVersion
from serving.runtime.manifest import read_golden, read_manifest, verify_files

FILES = ("saved_model.pb", "variables/variables.data-00000-of-00001", "assets.extra/golden.json")


@pytest.fixture
def folder(tiny, tmp_path: Path) -> Path:
    return tiny.publish(tmp_path, "text")


def manifest_path(folder: Path) -> Path:
    return folder / "assets.extra" / "manifest.json"


def test_what_was_exported_is_read(tiny, folder) -> None:
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    assert list(manifest.labels) == tiny.labels["text"]
    assert [example.text for example in read_golden(folder)] == ["good", "a rather bad one, ça va"]


@pytest.mark.parametrize("path", FILES)
def test_one_changed_byte_is_found(folder, path) -> None:
    content = bytearray((folder / path).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / path).write_bytes(content)
    with pytest.raises(BadVersion, match=f"{path} is not the file that was exported"):
        verify_files(folder, read_manifest(folder))


@pytest.mark.parametrize("path", FILES)
def test_a_missing_file_is_named(folder, path) -> None:
    (folder / path).unlink()
    with pytest.raises(BadVersion, match=f"{path} cannot be read: No such file"):
        verify_files(folder, read_manifest(folder))


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/saved_model.pb", "a/../../b"])
def test_a_manifest_cannot_name_files_outside(tiny, folder, path) -> None:
    tiny.rewrite_manifest(folder, lambda manifest: manifest.files.add(path=path))
    with pytest.raises(BadVersion, match="outside of its folder"):
        verify_files(folder, read_manifest(folder))


@pytest.mark.parametrize("path", ["saved_model.pb", "assets.extra/golden.json"])
def test_no_file_that_counts_goes_without_a_digest(tiny, folder, path) -> None:
    def leave_out(manifest) -> None:
        kept = [file for file in manifest.files if file.path != path]
        del manifest.files[:]
        manifest.files.extend(kept)

    tiny.rewrite_manifest(folder, leave_out)
    with pytest.raises(BadVersion, match=f"no digest of {path}"):
        verify_files(folder, read_manifest(folder))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"labels": 3}'])
def test_what_is_no_manifest_is_refused(folder, content) -> None:
    manifest_path(folder).write_bytes(content)
    with pytest.raises(BadVersion, match=r"manifest.json is no Manifest|of schema 0"):
        read_manifest(folder)


def test_another_schema_is_refused_by_its_number(folder) -> None:
    """And by that alone: what else a later schema has is unknown here."""
    content = json.loads(manifest_path(folder).read_text())
    manifest_path(folder).write_text(json.dumps(content | {"schemaVersion": 2, "novelty": {}}))
    with pytest.raises(BadVersion, match="of schema 2, and 1 is"):
        read_manifest(folder)


def test_a_manifest_without_labels_is_refused(tiny, folder) -> None:
    tiny.rewrite_manifest(folder, lambda manifest: manifest.ClearField("labels"))
    with pytest.raises(BadVersion, match="no labels"):
        read_manifest(folder)


def test_golden_inputs_are_a_must(folder) -> None:
    path = folder / "assets.extra" / "golden.json"
    path.write_text("{}")
    with pytest.raises(BadVersion, match="no examples"):
        read_golden(folder)
    path.unlink()
    with pytest.raises(BadVersion, match="cannot be read"):
        read_golden(folder)
