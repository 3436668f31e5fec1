"""Whether bf16 is admitted, and what is remembered of a measurement."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from serving.runtime import opening
from serving.runtime.cache import Cache
from serving.runtime.endpoint import Endpoint
from serving.runtime.opening import Wish
from tests.serving.runtime.opening_fakes import ENDPOINT, House, changed

AUTO = Wish("auto", "auto")


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(monkeypatch)
    monkeypatch.setattr(opening, "time", SimpleNamespace(perf_counter=house.clock))
    return house


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache")


def swapped(outputs):
    """Scores of 0.333 and 0.667 come within 0.008 of each other's place: another top-1."""
    return outputs | {"scores": outputs["scores"][:, ::-1]}


def test_bf16_serves_where_the_scores_are_kept(house) -> None:
    house.add("openvino", bf16=changed("scores", 0.009))
    house.add("tensorflow")
    executor, report = house.open(AUTO)
    assert (executor.name, executor.precision, report.precision) == ("openvino", "bf16", "bf16")
    assert report.difference == pytest.approx(0.009, abs=1e-5)
    assert report.speeds.keys() == {"openvino bf16", "openvino f32", "tensorflow f32"}
    assert sorted(house.closed()) == ["openvino", "tensorflow"]


@pytest.mark.parametrize("lone_calls", [True, False])
def test_bf16_that_is_slower_does_not_serve(house, lone_calls) -> None:
    """As on CPUs that have its instructions, and compute them no faster."""
    house.add("openvino", bf16=changed("scores", 0.009), bf16_gain=0.9)
    house.add("tensorflow", seconds=lambda rows: 1.0)
    executor, report = house.open(AUTO._replace(lone_calls=lone_calls))
    assert (executor.name, executor.precision, report.precision) == ("openvino", "f32", "f32")
    assert not executor.closed
    assert report.difference == pytest.approx(0.009, abs=1e-5)
    assert "bf16 keeps the scores, and is no faster here: f32 is served" in report.notes
    assert sorted(house.closed()) == ["openvino", "tensorflow"]


def test_a_processor_without_bf16_measures_f32_once(house) -> None:
    house.add("openvino", has_bf16=False)
    executor, report = house.open(AUTO)
    assert (executor.precision, report.difference) == ("f32", None)
    assert [one.closed for one in house.executors] == [False, True]
    assert "this processor has no bf16: f32 is served" in report.notes


def test_bf16_that_is_admitted_serves_where_nothing_is_measured(house) -> None:
    house.add("openvino", bf16=changed("scores", 0.009))
    assert house.open(AUTO._replace(seconds=0.0))[0].precision == "bf16"


def test_bf16_that_is_off_does_not_serve(house) -> None:
    house.add("openvino", bf16=changed("scores", 0.011))
    house.add("tensorflow", seconds=lambda rows: 1.0)
    executor, report = house.open(AUTO)
    assert (executor.name, executor.precision) == ("openvino", "f32")
    assert report.difference == pytest.approx(0.011, abs=1e-5)
    assert "scores 0.011 off on the golden inputs: f32 is served" in report.notes[0]
    assert [e.precision for e in house.executors if e.name == "openvino" and e.closed] == ["bf16"]


def test_bf16_with_another_top_1_does_not_serve(house) -> None:
    """However near the scores are."""
    near = [{"examples": np.array([[1.0, 1.001]], np.float32)}]
    house.add("openvino", bf16=swapped)
    house.add("tensorflow", seconds=lambda rows: 1.0)
    executor, report = house.open(AUTO, probes=near)
    assert executor.precision == "f32"
    assert report.difference < 0.001
    assert "another top-1" in report.notes[0]


def test_bf16_whose_scores_are_no_numbers_does_not_serve(house) -> None:
    first_class = [{"examples": np.array([[3.0, 1.0]], np.float32)}]  # as argmax has it of NaN
    house.add("openvino", bf16=changed("scores", np.nan))
    house.add("tensorflow", seconds=lambda rows: 1.0)
    assert house.open(AUTO, probes=first_class)[0].precision == "f32"


def test_bf16_that_cannot_be_had_does_not_matter(house) -> None:
    def broken(outputs):
        raise RuntimeError("no such precision")

    house.add("openvino", bf16=broken)
    house.add("tensorflow", seconds=lambda rows: 1.0)
    executor, report = house.open(AUTO)
    assert (executor.name, executor.precision) == ("openvino", "f32")
    assert not executor.closed
    assert report.difference is None


def test_bf16_is_not_tried_unless_it_is_asked_for(house) -> None:
    house.add("openvino", bf16=lambda outputs: outputs)
    house.add("tensorflow")
    house.open(Wish("auto", "f32"))
    assert {executor.precision for executor in house.executors} == {"f32"}


@pytest.mark.parametrize("missing", ["scores", "probes", "openvino"])
def test_bf16_without_proof_does_not_serve(house, missing) -> None:
    house.add("openvino", bf16=lambda outputs: outputs)
    house.add("tensorflow")
    endpoint: Endpoint = ENDPOINT
    if missing == "scores":
        endpoint = endpoint._replace(outputs={"logits": endpoint.outputs["logits"]})
    how = {"probes": []} if missing == "probes" else {}
    wish = AUTO._replace(executor="tensorflow") if missing == "openvino" else AUTO
    executor, report = house.open(wish, endpoint, **how)
    assert executor.precision == "f32"
    assert "bf16 needs OpenVINO, golden inputs and scores: f32 is served" in report.notes


@pytest.mark.parametrize("precision", ["f32", "auto"])
def test_what_was_found_is_remembered_and_read_back_equal(house, cache, precision) -> None:
    wish = Wish("auto", precision)
    house.add("openvino", bf16=changed("scores", 0.009))
    house.add("tensorflow", seconds=lambda rows: 1.0)
    first, found = house.open(wish, cache=cache)
    house.executors.clear()
    # As in the next process: other objects, at other addresses.
    house.add("openvino", bf16=changed("scores", 0.009))
    house.add("tensorflow", seconds=lambda rows: 1e-6)
    executor, report = house.open(wish, cache=cache)
    assert report == found
    assert (executor.name, executor.precision) == (first.name, first.precision)
    assert house.names_opened() == ["openvino"]
    assert max(executor.batches) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"key": "other weights"},
        {"wish": Wish("auto", threads=2)},
        {"wish": Wish("auto", "auto")},
        {"wish": Wish("auto", max_batch_size=8)},
        {"endpoint": ENDPOINT._replace(name="embed")},
    ],
)
def test_what_was_found_of_another_is_not_believed(house, cache, other) -> None:
    house.add("openvino", bf16=lambda outputs: outputs)
    house.add("tensorflow", seconds=lambda rows: 1.0)
    house.open(cache=cache)
    house.executors.clear()
    house.open(cache=cache, **other)
    assert set(house.names_opened()) == {"openvino", "tensorflow"}


def test_what_was_found_on_another_machine_is_not_believed(house, cache, monkeypatch) -> None:
    house.add("openvino")
    house.add("tensorflow", seconds=lambda rows: 1.0)
    house.open(cache=cache)
    house.executors.clear()
    monkeypatch.setattr(opening, "here", lambda: "another processor")
    house.open(cache=cache)
    assert house.names_opened() == ["openvino", "tensorflow"]


GOOD = {
    "executor": "openvino",
    "precision": "f32",
    "best_batch_size": 8,
    "speeds": {"openvino f32": {"1": 100.0}},
    "difference": None,
    "notes": [],
}


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\x00\xfe",
        b"null",
        b"[]",
        b"7",
        b"{}",
        json.dumps(GOOD).encode()[:-7],
        json.dumps(GOOD | {"speeds": None}).encode(),
        json.dumps(GOOD | {"speeds": {"openvino f32": {"many": 1.0}}}).encode(),
        json.dumps(GOOD | {"notes": None}).encode(),
        json.dumps(GOOD | {"executor": "onnx"}).encode(),
        json.dumps(GOOD | {"executor": None}).encode(),
        json.dumps(GOOD | {"executor": []}).encode(),
        json.dumps(GOOD | {"best_batch_size": "many"}).encode(),
        json.dumps(GOOD | {"best_batch_size": 0}).encode(),
    ],
)
def test_garbage_is_measured_anew(house, tmp_path, garbage) -> None:
    house.add("openvino")
    house.add("tensorflow", seconds=lambda rows: 1.0)
    _, found = house.open(cache=Cache(tmp_path))
    (kept,) = tmp_path.iterdir()
    sound = kept.read_bytes()
    kept.write_bytes(garbage)
    executor, report = house.open(cache=Cache(tmp_path))
    assert executor.name == "openvino"
    assert report.best_batch_size == found.best_batch_size
    assert json.loads(kept.read_bytes()).keys() == json.loads(sound).keys()


def test_one_that_was_the_faster_and_cannot_any_more_leaves_the_other(house, cache) -> None:
    house.add("openvino")
    house.add("tensorflow", seconds=lambda rows: 1.0)
    house.open(cache=cache)
    house.add("openvino", open_error=RuntimeError("not on this machine"))
    executor, report = house.open(cache=cache)
    assert (executor.name, report.executor) == ("tensorflow", "tensorflow")
