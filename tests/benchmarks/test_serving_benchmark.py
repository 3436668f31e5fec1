"""The benchmark of the server, from the processes that it starts to its table and plot."""

import json
from pathlib import Path

import pytest

from benchmarks.serving import FILES, TENSORS, run
from benchmarks.serving_report import plot, print_report, shares
from tests.serving.conftest import Tiny


def test_from_processes_to_plot(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Tiny(tmp_path).publish(tmp_path / "repositories" / "image", "image")
    measured = run(["image"], 1, 0.3, tmp_path)
    assert json.loads(json.dumps(measured)) == measured
    (done,) = measured["networks"]["image"]["rounds"]
    assert len(done["loads"]) == len(TENSORS + FILES)
    for load in [*done["loads"], done["computing"]]:
        assert not load["errors"], load["first_error"]
        assert load["requests"] > 0
        assert load["watched_cores"] > 0  # of the server's process
    for row in measured["shares"]:
        assert 0 < row["share"][0] < 1.5
    capsys.readouterr()
    print_report(measured)
    printed = capsys.readouterr().out
    assert "tfserving tensors" in printed
    assert "a call that only computes" in printed
    plot(measured, tmp_path / "docs" / "serving.png")
    assert (tmp_path / "docs" / "serving.png").read_bytes().startswith(b"\x89PNG")


def load(**changes) -> dict:
    some = {
        "way": "a way",
        "in_flight": 32,
        "concurrency": 32,
        "size": "tensor",
        "batch": 1,
        "stream": False,
        "requests_per_second": 100.0,
        "inputs_per_second": 100.0,
        "p50_ms": 12.0,
        "p99_ms": 20.0,
        "client_cores": 0.1,
        "watched_cores": 0.3,
        "errors": {},
    }
    return some | changes


def measured_of(*loads: dict, empty: dict) -> dict:
    done = {
        "bare": {"core_seconds_an_input": 0.012},
        "alone": {"p50_ms": 6.0},
        "decode": {"core_seconds_an_input": 0.004, "p50_ms": 1.0},
        "empty": [empty],
        "loads": list(loads),
    }
    return {"machine": {"cores": 2}, "networks": {"resnet20": {"rounds": [done, done]}}}


def test_the_limit_is_cores_by_what_an_image_costs_them() -> None:
    """An empty call takes 0.4 cores at 100 a second: 4 ms; with the executor's 12 ms, 16 ms."""
    (row,) = shares(measured_of(load(), empty=load()))
    assert row["limit"] == pytest.approx([2 / 0.016] * 2)
    assert row["share"] == pytest.approx([0.8] * 2)
    assert row["goal"] == 0.75


def test_of_many_images_a_request_each_has_a_part_of_the_call() -> None:
    many = load(batch=16)
    (row,) = shares(measured_of(many, empty=load()))
    assert row["limit"] == pytest.approx([2 / (0.012 + 0.004 / 16)] * 2)
    assert row["goal"] == 0.88


def test_files_are_decoded_too() -> None:
    file = load(size="file", in_flight=1, concurrency=1)
    (row,) = shares(measured_of(file, empty=file | {"p50_ms": 1.0}))
    assert row["limit"] == pytest.approx([2 / (0.012 + 0.004 + 0.004)] * 2)
    assert row["times_alone"] == pytest.approx([12 / (6 + 1 + 1)] * 2)
    assert row["goal"] == 1.15
