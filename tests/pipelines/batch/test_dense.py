"""All windows of a picture in one pass, and the picture of them: against each window by itself."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.batch import dense
from pipelines.batch.errors import BatchError
from pipelines.batch.heat_maps import CAPTION_PIXELS, draw, file_name, spread
from pipelines.batch.job import run
from pipelines.batch.options import Job
from pipelines.batch.predictor import Predictor
from tests.pipelines.batch.conftest import OPENING, pixels
from tests.serving.conftest import png


def table(**items: bytes) -> pa.Table:
    return pa.table({"input": list(items), "data": pa.array(items.values(), pa.binary())})


@pytest.fixture(scope="module")
def whole(scanner: Path) -> Predictor:
    """Whole pictures, of the network's own size."""
    return Predictor("scan", repository=scanner, all_scores=True, **OPENING)


def test_rows_are_those_of_each_window_by_itself(
    scanner: Path, whole: Predictor, tmp_path: Path
) -> None:
    picture = pixels(21, 13)
    options = {"dense": True, "all_scores": True, "heat_maps": str(tmp_path / "maps"), **OPENING}
    predictor = Predictor("scan", repository=scanner, **options)
    *rows, bad = predictor(table(a=png(picture), b=b"junk")).to_pylist()
    assert "not a picture" in bad["error"]
    assert len(rows) == 7 * 3  # a window each second pixel
    assert [(row["top"], row["left"]) for row in rows[:4]] == [(0, 0), (0, 2), (0, 4), (2, 0)]
    cut = {
        str(i): png(picture[row["top"] : row["bottom"], row["left"] : row["right"]])
        for i, row in enumerate(rows)
    }
    for row, wanted in zip(rows, whole(table(**cut)).to_pylist(), strict=True):
        np.testing.assert_allclose(row["all_scores"], wanted["all_scores"], atol=1e-5)
        assert row["labels"][0] == wanted["labels"][0]
    (drawn,) = (tmp_path / "maps").iterdir()
    assert drawn.name == "a.png"
    with Image.open(drawn) as image:
        assert image.size == (13, 21 + CAPTION_PIXELS)
        best = np.mean([row["all_scores"] for row in rows], axis=0).argmax()
        assert image.text["Description"].startswith(f"{'abcde'[best]}: mean 0.")


@pytest.mark.parametrize(("height", "width"), [(7, 40), (40, 7)])
def test_a_picture_smaller_than_the_network_is_a_row_with_the_reason(
    scanner: Path, height: int, width: int
) -> None:
    predictor = Predictor("scan", repository=scanner, dense=True, **OPENING)
    (row,) = predictor(table(a=png(pixels(height, width)))).to_pylist()
    assert f"{width} wide and {height} high" in row["error"]


def test_more_than_one_pass_may_have(scanner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "MOST_PIXELS", 99)
    predictor = Predictor("scan", repository=scanner, dense=True, **OPENING)
    (row,) = predictor(table(a=png(pixels(10, 10)))).to_pylist()
    assert "--tiles" in row["error"]


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("image", {"dense": True}, "no endpoint 'dense'"),
        ("scan", {"dense": True, "embed": True}, "leave --embed"),
        ("scan", {"heat_maps": "maps"}, "--dense or --tiles"),
    ],
)
def test_what_cannot_be_is_refused(
    models: Path, scanner: Path, model: str, options: dict, reason: str
) -> None:
    repository = scanner if model == "scan" else models
    with pytest.raises(BatchError, match=reason):
        Predictor(model, repository=repository, **options, **OPENING)


def test_heat_maps_of_tiles(models: Path, tmp_path: Path) -> None:
    options = {"tiles": True, "heat_maps": str(tmp_path), **OPENING}
    Predictor("image", repository=models, **options)(table(a=png(pixels(20, 30))))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (30, 20 + CAPTION_PIXELS)


def test_they_are_no_rows(job: Job) -> None:
    """Parquet's readers take each file in a folder for a part of the table."""
    with pytest.raises(BatchError, match="give another one"):
        run(Job(job.model, job.given, job.output, heat_maps=f"{job.output}/maps"))


def test_a_folder_that_cannot_be_written_stops_the_run(models: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    options = {"tiles": True, "heat_maps": str(tmp_path / "maps"), **OPENING}
    predictor = Predictor("image", repository=models, **options)
    (tmp_path / "maps").rmdir()
    with pytest.raises(BatchError, match="maps cannot be written"):
        predictor(table(a=png(pixels(20, 30))))


@given(name=st.text(max_size=300))
@settings(deadline=None)
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    name = name.encode(errors="backslashreplace").decode()
    made = file_name(name)
    assert Path("/maps", made).resolve().parent == Path("/maps")
    assert len(made.encode()) <= 210
    assert not set(made) & set("/\\:\0")


def test_names_that_differ_have_files_that_differ() -> None:
    names = ["a/b", "a%2Fb", "a:b", "../a", "x" * 300, "x" * 301, "ü/" * 200]
    assert len({file_name(name) for name in names}) == len(names)


@given(data=st.data(), height=st.integers(1, 12), width=st.integers(1, 12))
@settings(deadline=None, max_examples=50)
def test_a_pixel_has_the_mean_of_its_windows(data, height: int, width: int) -> None:
    corner = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    boxes = []
    for _ in range(data.draw(st.integers(1, 6))):
        (top, left), (bottom, right) = data.draw(corner), data.draw(corner)
        boxes.append(
            (min(top, bottom), min(left, right), max(top, bottom) + 1, max(left, right) + 1)
        )
    values = np.linspace(0, 1, len(boxes), dtype=np.float32)
    found = spread((height, width), np.array(boxes, np.int32), values)
    for y, x in np.ndindex(height, width):
        inside = [
            v for v, (t, le, b, r) in zip(values, boxes, strict=True) if t <= y < b and le <= x < r
        ]
        wanted = np.mean(inside) if inside else np.nan
        np.testing.assert_allclose(found[y, x], wanted, atol=1e-9)


def test_what_is_sure_is_red_and_the_rest_blue() -> None:
    boxes = np.array([(0, 0, 4, 4), (0, 4, 4, 8)], np.int32)
    scores = np.array([(1, 0), (0.1, 0.9)], np.float32)
    with Image.open(
        io.BytesIO(draw(np.full((4, 8, 3), 128, np.uint8), boxes, scores, ["x", "y"]))
    ) as image:
        left, right = image.getpixel((1, 1)), image.getpixel((6, 1))
    assert left[0] > left[2]
    assert right[2] > right[0]
