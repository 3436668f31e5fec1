"""The table names the command that makes each of its lines again."""

from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.accuracy import Line, command, interval
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
