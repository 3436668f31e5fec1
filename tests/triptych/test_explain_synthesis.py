"""`triptych explain` where a picture is made, as a person calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from pipelines.explain import METHODS as FOR_A_CLASS
from pipelines.explain.exhibits import EXHIBITS
from triptych.explain_synthesis import METHODS
from triptych.main import app

ROOT = Path(__file__).parents[2]
FROG = ROOT / "samples/frog.jpg"


@pytest.fixture
def explain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIPTYCH_REPOSITORY", str(ROOT / "model_repository"))

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["explain", *map(str, arguments)])

    return run


def test_help_names_what_there_is(explain) -> None:
    assert tuple(EXHIBITS) == METHODS
    said = explain("--help").stdout.replace(",", " ").replace(".", " ").split()
    assert [name for name in (*FOR_A_CLASS, *EXHIBITS) if name not in said] == []


def test_arrays_and_facts(explain, tmp_path: Path) -> None:
    result = explain(FROG, "--model", "cifar10", "--method", "pgd", "--out", "frog.npz")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("frog 0.99")
    assert "within 4.00 of 255 levels" in result.stdout
    with np.load(tmp_path / "frog.npz") as arrays:
        assert arrays["attacked"].shape == (32, 32, 3)


def test_a_picture_of_a_data_set(explain, tmp_path: Path) -> None:
    for label in ("frog", "airplane"):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        (folder / "one.jpg").write_bytes((ROOT / f"samples/{label}.jpg").read_bytes())
    arguments = ("--model", "cifar10", "--method", "top-inputs", "--data", "photos")
    result = explain(*arguments, "--option", "units=3,5")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "stages.8: 2 inputs\n"
    with Image.open(tmp_path / "top-inputs.png") as picture:
        assert picture.format == "PNG"


def test_json_needs_no_model_for_a_checkerboard(explain, tmp_path: Path) -> None:
    result = explain("--method", "checkerboard", "--json")
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["facts"]) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((FROG, "--method", "pgd"), "which model?"),
        (("--model", "cifar10", "--method", "pgd"), "pgd takes one input"),
        ((FROG, "--model", "cifar10", "--method", "pgd", "--option", "steps"), "KEY=VALUE"),
        ((FROG, "--model", "cifar10", "--method", "pgd", "--option", "depth=3"), "takes no depth"),
        ((FROG, "--model", "cifar10", "--method", "pgd", "--method", "fgsm"), "give it alone"),
        ((FROG, "--model", "cifar10", "--method", "pgd", "--out", "frog.gif"), ".png"),
        ((FROG, "--model", "cifar10", "--method", "pgd", "--out", "no/frog.png"), "no folder no"),
        ((FROG, "--model", "cifar10", "--method", "pgd", "--report", "a.html"), "another matter"),
        ((FROG, "--model", "cifar10", "--option", "steps=3"), "--option are of filters"),
        (("--model", "cifar10", "--method", "robustness", "--data", "no"), "unknown data 'no'"),
        ((__file__, "--model", "cifar10", "--method", "pgd"), "test_explain_synthesis.py: "),
    ],
)
def test_what_cannot_be_says_why(explain, arguments, reason: str) -> None:
    result = explain(*arguments)
    assert result.exit_code != 0
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
