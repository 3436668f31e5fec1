"""`triptych models describe`: layer by layer, in a terminal or for programs."""

import json

import pytest
from click.testing import Result
from typer.testing import CliRunner

from triptych.console import quantity
from triptych.main import app


def described(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", "describe", *arguments], env={"COLUMNS": "80"})


@pytest.mark.parametrize("name", ["resnet20", "lenet5", "frequency_cnn", "kim_cnn"])
def test_the_table_fits_80_columns_and_ends_with_totals(name) -> None:
    result = described(name)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "training" in result.stdout.splitlines()[-1]


def test_figures_of_a_layer_and_of_all() -> None:
    lines = described("resnet20").stdout.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("stages.3.conv1.conv")]
    assert row[1:4] == ["16x16x32", "17/2", "-7"]
    assert " ".join(row[4:]) == "4.61 k 1.18 M 32.8 k 65.5 k"
    assert "parameters     271,098, of which 269,722 are trained" in map(str.rstrip, lines)
    assert "multiply-adds  40,551,040" in map(str.rstrip, lines)


def test_json_has_every_step() -> None:
    found = json.loads(described("resnet20", "--input", "64", "--classes", "7", "--json").stdout)
    assert found["input_shape"] == [64, 64, 3]
    assert found["multiply_adds"] == 4 * (40_551_040 - 640) + 64 * 7
    kinds = [step["kind"] for step in found["steps"]]
    assert kinds[:4] == ["InputLayer", "Conv2D", "BatchNormalization", "Activation"]
    assert found["steps"][1]["fields"] == [{"size": 3, "stride": 1, "start": -1}] * 2
    assert found["steps"][-1]["output"] == [7]
    assert sum(step["multiply_adds"] for step in found["steps"]) == found["multiply_adds"]
    assert "to_the_paper" not in found


def test_options_are_compared_with_the_paper() -> None:
    option = ("--option", "shortcut=B")
    last = described("resnet20", *option).stdout.splitlines()[-1]
    assert last == "to the paper: +2,944 parameters (+1.1%), +262,144 multiply-adds (+0.6%)"
    found = json.loads(described("resnet20", *option, "--json").stdout)
    assert found["to_the_paper"] == {"parameters": 2_944, "multiply_adds": 262_144}
    assert found["options"] == {"shortcut": "B"}


def test_a_large_difference_is_one_line_too() -> None:
    last = described("vgg16", "--option", "pooling=avg").stdout.splitlines()[-1]
    assert last == (
        "to the paper: -123,129,856 parameters (-89%), -123,121,664 multiply-adds (-0.8%)"
    )
    assert len(last) <= 80


def test_no_comparison_where_the_paper_takes_no_such_input() -> None:
    small = ("alexnet", "--input", "32", "--json")
    assert described(*small).exit_code == 1
    result = described(*small, "--option", "small_images=true")
    assert result.exit_code == 0
    assert "to_the_paper" not in json.loads(result.stdout)


def test_an_option_that_costs_nothing() -> None:
    last = described("resnet20", "--option", "pooling=max").stdout.splitlines()[-1]
    assert last == "to the paper: +0 parameters, +0 multiply-adds"


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("resnet21",), "no architecture 'resnet21'", 1),
        (("resnet20", "--option", "colour=red"), "colour", 1),
        (("resnet20", "--option", "shortcut"), "KEY=VALUE", 2),
        (("separable_cnn", "--option", "pooling=sum"), "pooling must be", 1),
        (("frequency_cnn", "--option", "filters=none"), "filters", 1),
    ],
)
def test_errors_are_one_line(arguments, said, code) -> None:
    result = described(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "7 "),
        (999, "999 "),
        (4096, "4.10 k"),
        (46_200_000, "46.2 M"),
        (15_470_264_320, "15.5 G"),
    ],
)
def test_quantities_have_three_digits(number, text) -> None:
    assert quantity(number) == text
