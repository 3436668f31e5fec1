"""The table names the command that makes each of its lines again."""

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.accuracy import Line, command, interval
from models import ARCHITECTURES
from pipelines.recipes.sounds import settings
from pipelines.run import Run, TrainConfig


def a_run(config: TrainConfig, domain: str) -> Run:
    content = {"train": asdict(config), "command": config.command(), "domain": domain}
    return Run(config.out, content)


def test_a_sounds_command_is_its_recipes() -> None:
    data = Path("data")
    words = settings("bc_resnet1", "speech_commands", Path("runs/words"), data, 12)
    assert command(a_run(words, "audio")) == (
        "python -m pipelines.recipes.sounds speech_commands bc_resnet1 runs data --epochs 12"
    )
    unheard = settings("ds_cnn_s", "fsdd-lucas", Path("runs/lucas"), data)
    assert command(a_run(unheard, "audio")) == (
        "python -m pipelines.recipes.sounds fsdd_speakers ds_cnn_s runs data --speakers lucas"
    )


def test_a_texts_command_is_the_command() -> None:
    config = TrainConfig("tcn", "trec", Path("runs/t"), epochs=3)
    assert command(a_run(config, "text")) == (
        "triptych train --model tcn --data trec --out runs/t --epochs 3"
    )


def test_a_line_bears_its_interval() -> None:
    # Newcombe 1998, table I (doi 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E):
    # 81 of 263 by Wilson's score, 0.2553 to 0.3662.
    assert interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    line = Line("trec", "tcn", 1234, 2_500_000, 0.5, 100, 1.25, "triptych train")
    assert str(line) == (
        "| trec | `tcn` | 1,234 | 2.5 | 50.0% of 100 | 40.4% to 59.6% | 1.2 | `triptych train` |"
    )


def test_the_page_has_five_networks_of_each_data_set_and_their_commands() -> None:
    page = (Path(__file__).parents[2] / "docs/accuracy.md").read_text()
    rows = re.findall(r"^\| (\S+) \| `(\w+)` .* \| ([\d.]+)% of (\d+) .* \| `(.+)` \|$", page, re.M)
    found = Counter(data for data, *_ in rows)
    assert min(found[data] for data in ("fsdd", "speech_commands", "trec")) >= 5
    for data, model, right, examples, made in rows:
        assert ARCHITECTURES[model].domain == ("text" if data == "trec" else "audio")
        assert model in made
        low, high = interval(float(right) / 100, int(examples))
        assert f"| {right}% of {examples} | {low:.1%} to {high:.1%} |" in page
