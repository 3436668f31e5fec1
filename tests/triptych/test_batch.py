"""`triptych batch` as it is typed: what it prints, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tests.serving.conftest import Tiny
from triptych.main import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    Tiny(folder / "exported").publish(folder / "models", "text")
    return folder / "models"


@pytest.fixture
def triptych(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "REPOSITORY": str(models),
        "CACHE": "none",
        "EXECUTOR": "openvino",
        "MEASURE_SECONDS": "0",
    }.items():
        monkeypatch.setenv(f"TRIPTYCH_{name}", value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, ["batch", *arguments], input=stdin)

    return call


def test_a_table_in_a_data_set_out(triptych, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,good\n2,\n3,a rather bad one\n")
    done = triptych("text", "t.csv", "out", "--top-k", "1")
    assert done.exit_code == 0, done.output
    assert "3 inputs in" in done.stdout
    assert "(errors)" in done.stdout
    assert "t.csv#1: column 'text' is empty here" in done.stderr
    rows = pq.read_table("out").to_pylist()
    assert [row["input"] for row in rows] == ["good", "t.csv#1", "a rather bad one"]
    again = triptych("text", "t.csv", "out", "--top-k", "1")
    assert "nothing to do" in again.stdout


def test_events_for_programs(triptych) -> None:
    stdin = "".join(f"text {i}\n" for i in range(5))
    done = triptych("text", "-", "out", "--json", "--shard-rows", "2", stdin=stdin)
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "started"
    assert events[0]["inputs"] == 5
    assert events[-1]["event"] == "done"
    assert sum(events[-1]["labels"].values()) == 5
    assert sum(e["inputs"] for e in events if e["event"] == "advanced") == 5
    shards = [e["shard"] for e in events if e["event"] == "wrote"]
    assert shards == sorted(p.name for p in Path("out").glob("part-*"))


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nothing", "t.csv", "out"], 1, "no model nothing"),
        (["text", "nothing", "out"], 1, "is not there"),
        (["text", "t.csv", "out", "--embed"], 1, "export it again"),
        (["text", "t.csv", "out", "--column", "x"], 1, "it has the columns id, text"),
        (["text", "t.csv", "out", "--max-errors", "0"], 1, "--max-errors"),
        (["text", "t.csv", "out", "--window", "200000"], 1, "131072 or less"),
        (["text", "t.csv", "out", "--heat-maps", "maps"], 1, "--dense or --tiles"),
        (["text", "t.csv", "out", "--format", "xls"], 2, "xls"),
    ],
)
def test_a_refusal_is_one_line(
    triptych, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,\n")
    done = triptych(*arguments)
    assert done.exit_code == code
    assert reason in done.stderr
    assert "Traceback" not in done.output


def test_a_process_of_its_own_imports_neither_keras_nor_pandas(triptych, tmp_path: Path) -> None:
    """As TensorFlow and Arrow would, for seconds. Where a test calls the verb, they still do."""
    (tmp_path / "t.csv").write_text("text\ngood\n")
    assert triptych("text", "t.csv", "out").exit_code == 0
    assert getattr(sys.modules.get("keras"), "__version__", None) != "3.0.0"  # a stand-in's
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "triptych", "batch", "text", "t.csv", "own"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "tensorflow.python" in done.stderr
    assert "keras.src" not in done.stderr
    assert "pandas.core" not in done.stderr
    assert pq.read_table("own").equals(pq.read_table("out"))
