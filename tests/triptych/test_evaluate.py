"""`triptych evaluate`, as a person calls it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from triptych.main import app


@pytest.fixture
def evaluate(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TRIPTYCH_EXECUTOR", "tensorflow")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIPTYCH_REPOSITORY", str(repository))
    return lambda *arguments: CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_a_report_and_a_summary_in_80_columns(repository, data, tmp_path):
    """In a process of its own: the command that the report shows is its own."""
    shutil.copytree(data / "images", tmp_path / "new")
    (tmp_path / "new/red/broken.png").write_bytes(b"x")
    arguments = [repository / "tiny-image" / "1", "new", "--out", "reports/tiny"]
    result = subprocess.run(
        [sys.executable, "-m", "triptych", "evaluate", *map(str, arguments)],
        capture_output=True,
        timeout=240,
        check=False,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "COLUMNS": "80",
            "TRIPTYCH_EXECUTOR": "tensorflow",
            "TRIPTYCH_CACHE": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        },
    )
    assert result.returncode == 0, result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    report = json.loads((tmp_path / "reports/tiny/report.json").read_text())
    assert f"{report['accuracy'] * 100:.2f} %" in result.stdout
    assert all(label in result.stdout for label in ("blue", "green", "red"))
    assert "broken.png" in result.stdout
    assert "next: open reports/tiny/report.html" in result.stderr
    assert report["command"].endswith("new --out reports/tiny")
    assert "triptych evaluate" in (tmp_path / "reports/tiny/report.html").read_text()


def test_json_is_the_report_and_nothing_else(evaluate, data):
    result = evaluate("tiny-text", data / "texts.csv", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["model"]["name"] == "tiny-text"
    assert report["measured"] == sum(row["examples"] for row in report["classes"])
    assert "--out FOLDER" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("absent", "images"), "no model absent"),
        (("tiny-image", "nowhere"), "unknown data"),
        (("tiny-image", "sounds"), "takes image, and sounds is audio"),
        (("tiny-image", "images", "--data-dir", "."), "--data-dir is for the known"),
        (("tiny-image", "images", "--out", "texts.csv"), "texts.csv"),
    ],
)
def test_errors_are_one_line(arguments, said, evaluate, data, monkeypatch):
    monkeypatch.chdir(data)
    result = evaluate(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not isinstance(result.exception, OSError)


def test_help_shows_an_example(evaluate) -> None:
    assert "Example: triptych evaluate cifar10" in evaluate("--help").output


def test_of_many_classes_the_summary_has_the_weakest(capsys):
    from types import SimpleNamespace

    import numpy as np

    from pipelines.evaluation.measures import measure
    from triptych.evaluate import CLASSES, _classes

    labels = [f"class {i}" for i in range(40)]
    true = np.repeat(np.arange(40), 2)
    answered = true.copy()
    answered[11] = 0  # half of class 5
    measures = measure(true, np.eye(40, dtype=np.float32)[answered], labels)
    table = _classes(SimpleNamespace(measures=measures))
    assert table.row_count == CLASSES + 1
    assert next(table.columns[0].cells).plain == "class 5"
