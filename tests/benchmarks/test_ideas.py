"""Each experiment runs, on next to nothing, and docs/ideas.md shows it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.ideas import batch_norm, depth, equivariance, heads, speech
from benchmarks.ideas.__main__ import DOCS, NAMES, as_text, draw, experiment
from benchmarks.ideas.training import Data, Scale
from models.cost import cost

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")
TINY = Scale(train=20, test=10, epochs=1, seeds=(0,))


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """Two steps of each network: compiling it would take longer."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def pictures() -> Data:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TINY.train + TINY.test, 32, 32, 3)).astype(np.float32)
    y = np.arange(len(x), dtype=np.int32) % 10
    return Data(x[: TINY.train], y[: TINY.train], x[TINY.train :], y[TINY.train :])


def folds() -> list[speech.Fold]:
    """A digit is a tone here."""
    t = np.arange(speech.RATE_HZ // 2) / speech.RATE_HZ
    clips = speech.Clips(
        [np.sin(2 * np.pi * (300 + 200 * k) * t).astype(np.float32) for k in range(10)],
        np.arange(10, dtype=np.int32),
    )
    return [speech.Fold("theo", clips, clips, clips)]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs_and_is_drawn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth, "DEPTHS", (2, 4))
    monkeypatch.setattr(batch_norm, "RATES", (0.01, 0.1))
    rows = experiment(name).run(folds() if name == "speech" else pictures(), TINY)
    assert draw(name, json.loads(json.dumps(rows)), tmp_path).stat().st_size > 5000
    assert json.loads(as_text({name: {"date": "", "rows": rows}})) == {
        name: {"date": "", "rows": rows}
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_its_plot_and_its_command(name: str) -> None:
    page = (DOCS / "ideas.md").read_text()
    assert f"python -m benchmarks.ideas {name}" in page
    assert f"(images/ideas/{name}.png)" in page
    assert (DOCS / "images" / "ideas" / f"{name}.png").stat().st_size < 100_000


def test_the_page_tells_of_what_was_measured() -> None:
    measured = json.loads((DOCS / "ideas.json").read_text())
    assert list(measured) == list(NAMES)
    pictured = re.findall(r"images/ideas/(\w+)\.png", (DOCS / "ideas.md").read_text())
    assert sorted(pictured) == sorted(NAMES)


def test_filters_of_all_axes_have_as_many_weights() -> None:
    counts = [
        cost(speech.network(kind), (speech.FRAMES, speech.BANDS, 1)).parameters
        for kind in speech.KINDS.values()
    ]
    assert max(counts) / min(counts) < 1.05


def test_circular_padding_makes_translation_exact_and_only_it() -> None:
    rows = equivariance.run(pictures(), TINY)
    off = {(row["network"], row["change"], row["amount"]): row["apart"] for row in rows}
    assert all(off["circular", "shift", shift] < 1e-12 for shift in equivariance.SHIFTS)
    assert off["zeros", "shift", 1] > 0.01
    assert off["circular, stride 2", "shift", 2] < 1e-12 < off["circular, stride 2", "shift", 1]
    assert off["any kernels", "quarters", 1] > 0.1
    assert off["kernels of four equal turns", "quarters", 1] < 1e-12


def test_pictures_are_moved_by_four_pixels_and_nothing_comes_back_in() -> None:
    ones = np.ones((4, 32, 32, 3), np.float32)
    ones[:, 16, 16] = 5
    found = heads.moved(ones)
    assert [tuple(np.argwhere(each[..., 0] == 5)[0]) for each in found] == [
        (20, 20),
        (20, 12),
        (12, 20),
        (12, 12),
    ]
    assert (found == 0).sum() == 4 * 3 * (32 * 32 - 28 * 28)
