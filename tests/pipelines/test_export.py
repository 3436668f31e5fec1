"""An export is whole, proved and atomic, or nothing."""

import json
from pathlib import Path

import keras
import pytest

from pipelines.export import ExportError, export, write_version
from pipelines.preprocessing import TextPreprocessing
from pipelines.run import RunError
from protos.triptych.v1 import manifest_pb2
from serving.runtime.servable import read_manifest


def test_the_manifest_tells_what_was_trained(repository: Path, runs: dict[str, Path]) -> None:
    folder = repository / "tiny-image" / "1"
    manifest = read_manifest(folder)
    assert manifest.architecture.name == "resnet20"
    assert manifest.architecture.options["blocks"] == 1
    assert list(manifest.labels) == ["blue", "green", "red"]
    assert manifest.input.image.height == 16
    assert manifest.measures[0].examples == manifest.dataset.test_examples > 0
    assert manifest.command.startswith("triptych train --model resnet20")
    assert 0 < manifest.trainable_parameters < manifest.parameters
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {f.path for f in manifest.files} == files - {"assets.extra/manifest.json"}


def test_versions_count_up(runs: dict[str, Path], tmp_path: Path) -> None:
    first, second = export(runs["text"], tmp_path, "m"), export(runs["text"], tmp_path, "m")
    assert [first.name, second.name] == ["1", "2"]
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1", "2"]


def test_what_does_not_reproduce_is_not_published(runs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("serving.runtime.servable.GOLDEN_TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="not exported"):
        export(runs["text"], tmp_path, "m")
    assert not list((tmp_path / "m").iterdir())


def test_a_network_without_a_row_for_an_example_is_told_so(tmp_path: Path) -> None:
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[1:, :3])])
    manifest = manifest_pb2.Manifest(name="m", labels="abc")
    with pytest.raises(ExportError, match=r"shape \(0, 3\), where it must make one row"):
        write_version(network, TextPreprocessing().fit(["a b"]), ["a b"], manifest, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b"])
def test_a_name_never_leaves_the_repository(name, runs, tmp_path) -> None:
    with pytest.raises(ExportError, match="cannot be a model's name"):
        export(runs["text"], tmp_path / "repository", name or " ")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        export(tmp_path, tmp_path / "repository")


def test_report(runs: dict[str, Path]) -> None:
    for run in runs.values():
        report = json.loads((run / "report.json").read_text())
        assert report["test_accuracy"] >= 0.8
        assert sum(map(sum, report["confusion"])) == report["test_examples"]
        assert (run / "confusion.png").stat().st_size > 1000
        assert list((run / "logs").rglob("events*"))
