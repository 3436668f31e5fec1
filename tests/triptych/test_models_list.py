"""`triptych models list`: one row a network, its figures counted once."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import models
from models import catalogue
from triptych.main import app


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "triptych/networks.json"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("frequency_cnn", "kim_cnn", "lenet5", "resnet20")
    monkeypatch.setattr(models, "ARCHITECTURES", {n: models.ARCHITECTURES[n] for n in names})


def listed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", "list", *arguments], env={"COLUMNS": "80"})


def test_exact_figures(few) -> None:
    rows = {row["name"]: row for row in json.loads(listed("--json").stdout)}
    assert list(rows) == ["frequency_cnn", "kim_cnn", "lenet5", "resnet20"]
    assert rows["resnet20"] == {
        "name": "resnet20",
        "domain": "image",
        "parameters": 271_098,
        "trainable_parameters": 269_722,
        "multiply_adds": 40_551_040,
        "input_shape": [32, 32, 3],
        "classes": 10,
        "paper": "He 2015",
    }


def test_a_domain_alone_fits_80_columns(cache) -> None:
    result = listed("--domain", "text")
    header, *rows = result.stdout.splitlines()
    assert max(map(len, [header, *rows])) <= 80
    assert header.split()[:2] == ["name", "domain"]
    assert ["kim_cnn", "text"] in [row.split()[:2] for row in rows]
    assert not cache.exists()  # it has not all of them


def test_what_is_counted_is_counted_once(few, cache, monkeypatch) -> None:
    first = listed("--json").stdout
    monkeypatch.setattr(catalogue, "priced", None)
    assert listed("--json").stdout == first
    assert [row["name"] for row in json.loads(listed("--domain", "text", "--json").stdout)] == [
        "kim_cnn"
    ]
    assert [path.name for path in cache.parent.iterdir()] == ["networks.json"]


@pytest.mark.parametrize("damage", [{"key": "of other sources"}, [], None])
def test_a_cache_of_other_networks_or_a_damaged_one_is_not_read(few, cache, damage) -> None:
    first = listed("--json").stdout
    kept = json.loads(cache.read_text())
    rows = [{"name": "old"}]
    cache.write_text(json.dumps({**kept, "rows": rows, **damage} if damage else damage))
    assert listed("--json").stdout == first


def test_without_a_place_for_a_cache(few, cache) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert len(json.loads(listed("--json").stdout)) == 4


def test_an_unknown_domain() -> None:
    assert listed("--domain", "video").exit_code == 2


def test_the_help_says_what_sounds_and_texts_are_counted_with() -> None:
    said = " ".join(listed("--help").stdout.split())
    assert f"A sound has {catalogue.FRAMES} frames here" in said
    assert f"a text {catalogue.TOKENS} tokens out of {catalogue.VOCABULARY:,}" in said
