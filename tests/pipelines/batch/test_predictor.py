"""Rows against TensorFlow alone, which runs the same artefact from bytes to scores in one graph."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.batch.errors import BatchError
from pipelines.batch.predictor import Predictor
from serving.runtime.decoding import Limits
from tests.pipelines.batch.conftest import DOMAINS, OPENING
from tests.serving.conftest import LABELS, Tiny


@pytest.fixture(scope="module")
def predictors(models: Path) -> dict[str, Predictor]:
    return {
        domain: Predictor(domain, repository=models, top_k=2, all_scores=True, **OPENING)
        for domain in DOMAINS
    }


def table(items: list, **columns: list) -> pa.Table:
    texts = all(isinstance(item, str) for item in items if item is not None)
    data = pa.array(items, pa.string() if texts else pa.binary())
    names = pa.array([f"input {i}" for i in range(len(items))], pa.string())
    return pa.table({"input": names, "data": data, **columns})


@pytest.mark.parametrize("domain", DOMAINS)
def test_rows_are_what_tensorflow_computes(
    domain: str, predictors: dict[str, Predictor], tiny: Tiny
) -> None:
    items = [tiny.item(domain, seed) for seed in range(40)]
    rows = predictors[domain](table(items)).to_pylist()
    assert [row["input"] for row in rows] == [f"input {i}" for i in range(40)]
    for row, item in zip(rows, items, strict=True):
        wanted = tiny.scores(domain, item)
        assert row["error"] is None
        np.testing.assert_allclose(row["all_scores"], wanted, atol=1e-5)
        best = np.argsort(-np.array(row["all_scores"]), kind="stable")[:2]
        assert row["labels"] == [LABELS[domain][i] for i in best]
        assert row["scores"] == [row["all_scores"][i] for i in best]


def test_neighbours_change_nothing(predictors: dict[str, Predictor], tiny: Tiny) -> None:
    """Texts of many lengths share batches only with their like, and come back in order."""
    items = [tiny.item("text", seed) for seed in range(60)]
    together = predictors["text"](table(items))
    alone = [predictors["text"](table([item])) for item in items]
    assert together["labels"].to_pylist() == pa.concat_tables(alone)["labels"].to_pylist()
    np.testing.assert_allclose(
        np.array(together["all_scores"].to_pylist()),
        np.array(pa.concat_tables(alone)["all_scores"].to_pylist()),
        atol=1e-6,
    )


def test_what_is_wrong_with_an_input_is_its_row(
    predictors: dict[str, Predictor], tiny: Tiny
) -> None:
    items = [tiny.item("audio", 1), b"junk", None, b"", tiny.item("audio", 2)]
    read = pa.array([None, None, "no such file", None, None], pa.string())
    rows = predictors["audio"](table(items, error=read)).to_pylist()
    assert [row["error"] is None for row in rows] == [True, False, False, False, True]
    assert "not a sound" in rows[1]["error"]
    assert rows[2]["error"] == "no such file"
    assert "empty" in rows[3]["error"]
    for row in rows[1:4]:
        assert row["labels"] is row["scores"] is row["all_scores"] is None


def test_scores_that_are_no_numbers_are_an_error(models: Path, tiny: Tiny) -> None:
    opening = {**OPENING, "executor": "tensorflow"}
    (row,) = Predictor("audio", repository=models, **opening)(
        table([tiny.short_sound()])
    ).to_pylist()
    assert "not numbers" in row["error"]


def test_an_example_that_the_executor_refuses_fails_alone(models: Path, tiny: Tiny) -> None:
    predictor = Predictor("text", repository=models, batch_size=8, **OPENING)
    run = predictor._servable.executor.run

    def refuse(*parts, **options):  # as OpenVINO does what it has no memory for
        if any((part["examples"] == ord("!") % 64).any() for part in parts):
            raise RuntimeError("too much")
        return run(*parts, **options)

    predictor._servable.executor.run = refuse
    rows = predictor(table(["good one", "bad one!", "one more"])).to_pylist()
    assert [row["error"] for row in rows] == [None, "internal error: RuntimeError: too much", None]


def test_the_schema_says_what_answered(predictors: dict[str, Predictor]) -> None:
    predictor = predictors["image"]
    given = predictor(table([])).schema
    assert given == predictor.schema
    assert given.names == ["input", "labels", "scores", "all_scores", "error"]
    metadata = {key.decode(): value.decode() for key, value in given.metadata.items()}
    assert metadata["triptych.model"] == "image"
    assert metadata["triptych.version"] == "1"
    assert metadata["triptych.digest"] == predictor.model.digest
    assert json.loads(metadata["triptych.labels"]) == LABELS["image"]


def test_nothing_is_compiled_for_calls_that_are_alone(models: Path) -> None:
    predictor = Predictor("image", repository=models, **{**OPENING, "threads": 2})
    assert len(predictor._servable.executor._compiled) == 1


def test_limits_are_the_servers(models: Path, tiny: Tiny) -> None:
    predictor = Predictor("image", repository=models, limits=Limits(max_pixels=10), **OPENING)
    (row,) = predictor(table([tiny.item("image")])).to_pylist()
    assert "too many pixels" in row["error"]


def test_a_folder_is_a_model_too(models: Path, tiny: Tiny) -> None:
    for given in (models / "image" / "1", models / "image"):
        assert Predictor(given, **OPENING).model.version == 1


def test_the_newest_version_that_is_whole(tiny: Tiny, tmp_path: Path) -> None:
    tiny.publish(tmp_path, "image")
    tiny.publish(tmp_path, "image", 2, seed=1)
    tiny.publish(
        tmp_path, "image", 3, seed=2, change=lambda f: (f / "saved_model.pb").write_bytes(b"")
    )
    predictor = Predictor("image", repository=tmp_path, **OPENING)
    assert predictor.model.version == 2
    assert "saved_model.pb" in predictor.notes[0]


def test_a_version_that_computes_something_else_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    tiny.publish(tmp_path, "image", change=tiny.spoil_golden)
    with pytest.raises(BatchError, match="golden scores"):
        Predictor("image", repository=tmp_path, **OPENING)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model": "nothing"}, "no model nothing.*audio, image, text"),
        ({"embed": True}, "no endpoint 'embed'"),
        ({"window": 1.0}, "takes image"),
        ({"with_events": True}, "--window"),
        ({"hop": 1.0}, "--window"),
    ],
)
def test_what_a_model_cannot_give_is_refused(models: Path, options: dict, reason: str) -> None:
    with pytest.raises(BatchError, match=reason):
        Predictor(**{"model": "image", "repository": models, **OPENING, **options})
