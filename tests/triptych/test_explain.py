"""`triptych explain`, as a person calls it, on the shipped models."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner, Result

from triptych.main import app

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"


@pytest.fixture
def explain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TRIPTYCH_REPOSITORY", str(ROOT / "model_repository"))

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["explain", *map(str, arguments)])

    return run


def test_a_picture(explain, tmp_path):
    result = explain(SAMPLES / "frog.jpg", "--model", "cifar10")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "frog.grad-cam.png  grad-cam, frog 0.994\n"
    with Image.open(tmp_path / "frog.grad-cam.png") as picture:
        assert (picture.format, picture.width) == ("PNG", 700)


def test_a_sound_has_its_kept_part_beside(explain, tmp_path):
    result = explain(
        SAMPLES / "seven.wav", "--model", "digits", "--method", "saliency", "--out", "kept.png"
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("kept.png, kept.wav  saliency, 7 1.000")
    kept, rate = soundfile.read(tmp_path / "kept.wav")
    whole, _ = soundfile.read(SAMPLES / "seven.wav")
    assert (len(kept), rate) == (len(whole), 8000)
    assert 0 < np.square(kept).sum() < np.square(whole).sum()

    (tmp_path / "seven.wav").write_bytes((SAMPLES / "seven.wav").read_bytes())
    result = explain("seven.wav", "--model", "digits", "--out", "seven.png")
    assert result.exit_code == 2
    assert "is the input itself" in result.stderr
    assert (tmp_path / "seven.wav").read_bytes() == (SAMPLES / "seven.wav").read_bytes()


def test_json_is_for_programs_and_nothing_else(explain, tmp_path):
    arguments = ("--model", "questions", "--method", "occlusion", "--class", "location", "--json")
    result = explain("--text", "Who was Galileo?", *arguments)
    assert result.exit_code == 0, result.stderr
    (line,) = map(json.loads, result.stdout.splitlines())
    assert line["class"] == "location"
    assert line["shape"] == [len(line["values"])] == [8]
    assert line["values"][0] < 0  # "who" speaks against a place
    assert not list(tmp_path.iterdir())


def test_a_report_reads_by_itself(explain, tmp_path):
    (tmp_path / "empty.txt").write_text(" ")
    result = explain(
        SAMPLES / "county.txt",
        SAMPLES / "galileo.txt",
        "empty.txt",
        "--model",
        "questions",
        "--method",
        "saliency",
        "--method",
        "cam",
        "--method",
        "grad-cam",
        "--report",
        "page.html",
    )
    assert result.exit_code == 0, result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert re.search(r"saliency +\d+ +0\.\d{3} +0\.\d{3} +[+-]\d\.\d\d\n", result.stdout)
    assert "cam needs a network that ends in a mean" in result.stdout
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="token"') >= 2 * 2 * 4
    assert "empty.txt is left out: the text is empty" in page
    assert "random order" in page
    assert "<svg" in page
    assert not re.search(r'(src|href)="(?!data:|#)|url\((?!#)|@import', page)


def test_a_report_s_figures_for_programs(explain):
    arguments = ("--model", "cifar10", "--method", "grad-cam", "--report", "page.html", "--json")
    result = explain(SAMPLES / "frog.jpg", SAMPLES / "airplane.jpg", *arguments)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    grad_cam, random = found["methods"]
    assert (found["inputs"], found["checked_inputs"]) == (2, 2)
    assert (grad_cam["method"], random["method"]) == ("grad-cam", "random order")
    assert grad_cam["insertion"] > random["insertion"]
    assert len(grad_cam["sanity"]) == len(found["shuffled_shares"])
    assert grad_cam["milliseconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["frog.jpg"], 2, "which model?"),
        (["--model", "cifar10"], 2, "nothing to explain"),
        (["frog.jpg", "--model", "cifar11"], 1, "has cifar10, digits, questions"),
        (["none.jpg", "--model", "cifar10"], 1, "none.jpg cannot be read: No such file"),
        (["county.txt", "--model", "cifar10"], 1, "county.txt: not a picture"),
        (
            ["frog.jpg", "--model", "cifar10", "--class", "cow"],
            1,
            "no class 'cow'; it has airplane",
        ),
        (["frog.jpg", "--model", "cifar10", "--layer", "x"], 1, "stages.8, head.pool, head and"),
        (["frog.jpg", "--model", "cifar10", "--layer", "head.pool"], 1, "as 'stages.8'"),
        (["frog.jpg", "--model", "cifar10", "--method", "lime"], 1, "there are saliency, smooth"),
        (["county.txt", "--model", "questions", "--method", "cam"], 1, "take grad-cam"),
        (["frog.jpg", "x.jpg", "--model", "cifar10"], 1, "x.jpg cannot be read"),
        (["frog.jpg", "two.wav", "--model", "cifar10", "--out", "x.png"], 2, "x.png is no folder"),
        (["frog.jpg", "--model", "cifar10", "--report", "no/p.html"], 2, "no folder no"),
    ],
)
def test_what_is_wrong_is_said_with_the_next_step(explain, arguments, code, said):
    named = [SAMPLES / each if (SAMPLES / each).is_file() else each for each in arguments]
    result = explain(*named)
    assert result.exit_code == code
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_help_has_examples(explain):
    result = explain("--help")
    assert result.exit_code == 0
    assert "triptych explain frog.jpg --model cifar10" in " ".join(result.stdout.split())


def test_no_picture_takes_another_s_name(explain, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/galileo.txt").write_text("Who was Galileo?")
    arguments = ("--text", "Why?", "--text", "Why!", "--model", "questions")
    result = explain(SAMPLES / "galileo.txt", "b/galileo.txt", *arguments, "--method", "saliency")
    assert result.exit_code == 0, result.stderr
    assert {path.name.partition(".")[0] for path in tmp_path.glob("*.png")} == {
        "galileo",
        "galileo-2",
        "Why",
        "Why-2",
    }
