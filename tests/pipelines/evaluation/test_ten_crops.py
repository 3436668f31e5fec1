"""Ten crops: where they are cut, and what becomes of their scores."""

import io
from itertools import product

import keras
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.evaluation.evaluate import EvaluationError, evaluate
from pipelines.evaluation.ten_crops import TenCrops, ten_crops
from pipelines.run import Run


def encoded(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def numbered(height: int, width: int) -> np.ndarray:
    """Each pixel tells its place."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], -1)


def test_crops_of_224_out_of_256() -> None:
    crops = ten_crops(numbered(256, 256), 224, 224)
    assert {crop.shape for crop in crops} == {(224, 224, 3)}
    corners = {tuple(crop[0, 0, :2].tolist()) for crop in crops[:5]}
    assert corners == {*product((0, 32), repeat=2), (16, 16)}
    for crop, mirrored in zip(crops[:5], crops[5:], strict=True):
        np.testing.assert_array_equal(mirrored, crop[:, ::-1])


@pytest.mark.parametrize(("height", "width"), [(80, 40), (40, 80), (1, 9), (1, 1)])
def test_crops_are_of_what_one_view_would_show(height: int, width: int) -> None:
    crops = ten_crops(numbered(height, width), 32, 32)
    side = min(height, width)
    seen = np.concatenate([crop[..., :2].reshape(-1, 2) for crop in crops])
    first = ((height - side) // 2, (width - side) // 2)
    assert tuple(seen.min(axis=0)) == first
    assert tuple(seen.max(axis=0)) == (first[0] + side - 1, first[1] + side - 1)


def test_row_111_scores_are_the_mean_of_ten_crops(predictor, runs) -> None:
    """Against Keras, by crops that are cut here."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    picture = np.asarray(coarse.resize((32, 32), Image.Resampling.BICUBIC))
    answer = TenCrops(predictor("image"))(pa.table({"input": ["a"], "data": [encoded(picture)]}))

    run = Run.open(runs["image"])
    network, inputs = run.trained_model(), run.preprocessing()
    views = [picture[y : y + 28, x : x + 28] for y in (0, 4) for x in (0, 4)]
    views.append(picture[2:30, 2:30])
    examples = np.stack([inputs.preprocess(v) for w in views for v in (w, w[:, ::-1])])
    scores = keras.ops.softmax(network(examples, training=False)).numpy()
    assert scores.std(axis=0).max() > 1e-3  # they do differ
    assert answer["error"].to_pylist() == [None]
    np.testing.assert_allclose(answer["all_scores"].to_pylist()[0], scores.mean(axis=0), atol=1e-4)


def test_what_cannot_be_read_has_the_reason_of_one_view(predictor) -> None:
    table = pa.table({"input": ["bad", "good"], "data": [b"x", encoded(numbered(20, 20))]})
    once, ten = predictor("image")(table), TenCrops(predictor("image"))(table)
    assert ten["error"].to_pylist() == once["error"].to_pylist()
    assert [scores is None for scores in ten["all_scores"].to_pylist()] == [True, False]


def test_an_evaluation_says_so(predictor, data) -> None:
    found = evaluate(predictor("image"), str(data / "images"), ten_crops=True)
    assert found.measures.accuracy > 0.8
    assert any("ten crops" in note for note in found.notes)
    with pytest.raises(EvaluationError, match="no ten crops: leave them out"):
        evaluate(predictor("text"), str(data / "texts.csv"), ten_crops=True)
