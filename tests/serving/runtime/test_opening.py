"""Which executor is opened, and why: over fakes, and a clock that only they advance.

bf16 and what is remembered are in test_opening_remembered.py, the real ones in test_executors.py.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from serving.errors import BadVersion
from serving.runtime import opening
from serving.runtime.endpoint import TensorSpec
from serving.runtime.opening import Wish
from tests.serving.runtime.opening_fakes import ENDPOINT, PROBES, House, changed


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(monkeypatch)
    monkeypatch.setattr(opening, "time", SimpleNamespace(perf_counter=house.clock))
    return house


@pytest.mark.parametrize(("fast", "slow"), [("openvino", "tensorflow"), ("tensorflow", "openvino")])
def test_auto_takes_the_faster_and_closes_the_other(house, fast, slow) -> None:
    house.add(fast, seconds=lambda rows: 0.001 * rows)
    house.add(slow, seconds=lambda rows: 0.002 * rows)
    executor, report = house.open()
    assert (executor.name, report.executor, report.precision) == (fast, fast, "f32")
    assert report.speeds.keys() == {f"{fast} f32", f"{slow} f32"}
    assert report.speeds[f"{fast} f32"][1] == pytest.approx(1000, rel=0.01)
    assert report.speeds[f"{slow} f32"][4] == pytest.approx(500, rel=0.01)
    assert house.closed() == [slow]
    assert report.notes == ()
    assert report.difference is None


@pytest.mark.parametrize(
    ("openvino", "tensorflow", "faster"),
    [
        # As ResNet-20 was seen on a CPU without AVX-512, by nearly the same factors.
        (lambda rows: 0.0016 * rows, lambda rows: 0.004 + 0.0014 * rows, "openvino"),
        (lambda rows: 0.004 + 0.0005 * rows, lambda rows: 0.002 * rows, "openvino"),
        (lambda rows: 0.0016 * rows, lambda rows: 0.0005 + 0.0012 * rows, "tensorflow"),
    ],
    ids=["slow alone", "slow alone, and else twice as fast", "faster but alone"],
)
def test_all_batch_sizes_count_when_executors_are_compared(
    house, openvino, tensorflow, faster
) -> None:
    house.add("openvino", seconds=openvino)
    house.add("tensorflow", seconds=tensorflow)
    assert house.open()[0].name == faster


def test_where_all_batches_are_full_the_faster_is_that_at_its_own_best_size(house) -> None:
    house.add("openvino", seconds=lambda rows: 0.0016 * rows)
    house.add("tensorflow", seconds=lambda rows: 0.004 + 0.0014 * rows)
    assert house.open(Wish("auto", lone_calls=False))[0].name == "tensorflow"


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_one_that_is_asked_for_is_the_only_one_opened(house, name) -> None:
    house.add("openvino", seconds=lambda rows: 0.001)
    house.add("tensorflow", seconds=lambda rows: 0.001)
    executor, _ = house.open(Wish(name))
    assert executor.name == name
    assert house.names_opened() == [name]


def _scaled(outputs, factor):
    return outputs | {"logits": outputs["logits"] * np.float32(factor)}


@pytest.mark.parametrize(
    "spoil",
    [
        changed("logits", 2e-4),
        changed("scores", -2e-4),
        changed("scores", np.nan),
        lambda outputs: {"logits": outputs["logits"]},
        lambda outputs: outputs | {"scores": outputs["scores"][:, :1]},
        lambda outputs: outputs | {"scores": outputs["scores"].astype(np.float64)},
        lambda outputs: _scaled(outputs, 1.001),
    ],
    ids=["logits", "scores", "nan", "missing", "shape", "type", "relative"],
)
def test_executors_that_disagree_leave_tensorflow(house, spoil) -> None:
    """Though it is the slower: a wrong answer is none."""
    house.add("openvino", seconds=lambda rows: 0.001, spoil=spoil)
    house.add("tensorflow", seconds=lambda rows: 0.1 * rows)
    executor, report = house.open()
    assert executor.name == "tensorflow"
    assert house.closed() == ["openvino"]
    assert "executors differ by" in report.notes[0]
    assert "TensorFlow's own numbers are served" in report.notes[0]


@pytest.mark.parametrize("spoil", [changed("logits", 5e-5), lambda o: _scaled(o, 1.00005)])
def test_rounding_is_no_disagreement(house, spoil) -> None:
    """Absolute below 1, relative above."""
    house.add("openvino", seconds=lambda rows: 0.001, spoil=spoil)
    house.add("tensorflow", seconds=lambda rows: 0.1 * rows)
    assert house.open()[0].name == "openvino"


def test_each_probe_has_to_agree(house) -> None:
    def spoil(outputs):
        return changed("scores", 0.1)(outputs) if outputs["logits"][0, 0] == 100 else outputs

    house.add("openvino", seconds=lambda rows: 0.001, spoil=spoil)
    house.add("tensorflow", seconds=lambda rows: 0.1 * rows)
    assert house.open(probes=PROBES[:1])[0].name == "openvino"
    assert PROBES[1]["examples"][0, 0] == 100
    assert house.open()[0].name == "tensorflow"


def test_outputs_that_are_no_floats_are_compared_too(house) -> None:
    """Of unsigned ones and booleans no difference is taken as it stands."""

    def with_more(number):
        return lambda outputs: (
            outputs
            | {
                "class": np.array([number], np.uint8),
                "sure": np.array([True]),
            }
        )

    outputs = dict(ENDPOINT.outputs)
    for name, dtype in {"class": np.uint8, "sure": np.bool_}.items():
        outputs[name] = TensorSpec(name, np.dtype(dtype), (None,))
    endpoint = ENDPOINT._replace(outputs=outputs)
    house.add("openvino", seconds=lambda rows: 0.001, spoil=with_more(3))
    house.add("tensorflow", seconds=lambda rows: 0.1 * rows, spoil=with_more(3))
    assert house.open(endpoint=endpoint)[0].name == "openvino"
    house.add("openvino", seconds=lambda rows: 0.001, spoil=with_more(2))
    executor, report = house.open(endpoint=endpoint)
    assert executor.name == "tensorflow"
    assert "differ by 0.5 in class" in report.notes[0]


@pytest.mark.parametrize("moment", ["open", "run"])
def test_one_that_cannot_leaves_the_other(house, moment) -> None:
    """At its first run too: what compiles need not run."""
    house.add("openvino", **{f"{moment}_error": RuntimeError("no such operation: CTC")})
    house.add("tensorflow", seconds=lambda rows: 0.1)
    executor, report = house.open()
    assert executor.name == "tensorflow"
    assert report.notes == ("openvino (RuntimeError: no such operation: CTC)",)
    assert house.closed() == ([] if moment == "open" else ["openvino"])


def test_where_none_can_each_ones_reason_is_told(house) -> None:
    house.add("openvino", open_error=RuntimeError("no such operation: CTC"))
    house.add("tensorflow", run_error=ValueError("x" * 10_000))
    with pytest.raises(
        BadVersion, match=r"`predict`.*RuntimeError: no such.*; tensorflow \(V"
    ) as e:
        house.open()
    assert len(str(e.value)) < 1000


def test_where_the_one_that_was_asked_for_cannot_no_other_serves(house) -> None:
    house.add("openvino", open_error=RuntimeError("no such operation: CTC"))
    house.add("tensorflow")
    with pytest.raises(BadVersion, match="try another executor"):
        house.open(Wish("openvino"))
    assert "tensorflow" not in house.names_opened()


def test_without_a_probe_nothing_is_measured_and_tensorflow_serves(house) -> None:
    house.add("openvino")
    house.add("tensorflow")
    executor, report = house.open(probes=[])
    assert executor.name == "tensorflow"
    assert house.closed() == ["openvino"]
    assert report.best_batch_size == 32
    assert report.speeds == {"tensorflow f32": {}}
    assert "nothing to measure with" in report.notes[0]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        (lambda rows: 0.1 * rows, 1),  # a batch buys nothing
        (lambda rows: 0.01 + 0.0001 * rows, 32),
        (lambda rows: 0.004 * rows if rows != 8 else 0.016, 8),  # as MobileNetV2 was seen
        (lambda rows: 1e-5 * rows, 32),  # the cost of a batch beyond its computing counts
    ],
)
def test_the_best_batch_is_the_smallest_of_the_fastest(house, seconds, best) -> None:
    house.add("tensorflow", seconds=seconds)
    _, report = house.open(Wish("tensorflow", seconds=100))
    assert report.best_batch_size == best


def test_a_size_that_was_disturbed_is_measured_again(house) -> None:
    """By whatever else ran on the machine in the first second and a half."""

    def seconds(rows):
        disturbed = rows > 4 and house.now < 1.5
        return (0.01 + rows / 1e4) * (9 if disturbed else 1)

    house.add("tensorflow", seconds=seconds)
    _, report = house.open(Wish("tensorflow", seconds=100))
    assert report.best_batch_size == 32


def test_no_batch_is_larger_than_it_may_be(house) -> None:
    house.add("tensorflow", seconds=lambda rows: 0.01)
    _, report = house.open(Wish("tensorflow", max_batch_size=5, seconds=100))
    assert report.speeds["tensorflow f32"].keys() == {1, 2, 4}
    assert max(house.executors[0].batches) == report.best_batch_size == 4


def test_without_a_batch_axis_it_is_one(house) -> None:
    house.add("tensorflow", seconds=lambda rows: 0.01)
    _, report = house.open(Wish("tensorflow"), endpoint=ENDPOINT._replace(batched=False))
    assert report.best_batch_size == 1
    assert set(house.executors[0].batches) == {1}


@pytest.mark.parametrize("per_row", [1e-5, 1e-3, 0.02, 0.2])
def test_measuring_keeps_to_its_time(house, per_row) -> None:
    """Beyond it goes one measurement at most: three runs of twice the size of the last."""
    house.add("openvino", seconds=lambda rows: per_row * rows)
    house.add("tensorflow", seconds=lambda rows: per_row * rows)
    _, report = house.open(Wish("auto", seconds=2.0))
    sizes = [max(speeds) for speeds in report.speeds.values()]
    allowed = 2.0 + sum(3 * per_row * size + 2 * opening.RUN_SECONDS for size in sizes)
    assert house.now <= allowed


def test_no_time_is_no_measurement(house) -> None:
    house.add("openvino")
    house.add("tensorflow")
    _, report = house.open(Wish("auto", seconds=0))
    assert set(map(len, report.speeds.values())) == {0}
    assert report.best_batch_size == 32
