"""Models on data of one's own: which examples are measured, and what becomes of the others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets import DatasetError, Example, load_dataset, load_labelled
from pipelines.evaluation.collect import collect
from pipelines.evaluation.evaluate import EvaluationError, evaluate

DATA = {"image": "images", "audio": "sounds", "text": "texts.csv"}


@pytest.fixture
def red_and_blue(data, tmp_path) -> Path:
    """Two of the model's three classes, and one that it doesn't know and that sorts first."""
    folder = tmp_path / "new"
    for label in ("red", "blue"):
        shutil.copytree(data / "images" / label, folder / label)
    shutil.copytree(data / "images" / "green", folder / "a lawn")
    return folder


@pytest.mark.parametrize("domain", DATA)
def test_measured_is_what_training_held_out_and_the_figures_are_trainings(
    domain, predictor, data, runs
):
    found = evaluate(predictor(domain), str(data / DATA[domain]))
    report = json.loads((runs[domain] / "report.json").read_text())
    assert "held out" in found.data.split
    assert found.data.examples == load_dataset(str(data / DATA[domain]), seed=0).test
    assert found.measures.examples == report["test_examples"]
    assert found.measures.confusion.tolist() == report["confusion"]
    assert found.measures.accuracy == pytest.approx(report["test_accuracy"])


def test_data_that_have_changed_since_training_are_measured_whole_with_a_warning(
    predictor, data, tmp_path
):
    shutil.copytree(data / "images", tmp_path / "images")
    shutil.copy(data / "images/red/00.png", tmp_path / "images/red/new.png")
    found = evaluate(predictor("image"), str(tmp_path / "images"))
    assert found.measures.examples == 61
    assert "too good" in found.notes[0]


def test_a_test_split_of_its_own_is_what_is_measured(predictor, data, tmp_path):
    for split, files in (("train", ("00", "01")), ("test", ("02",))):
        for label in ("red", "green"):
            (tmp_path / split / label).mkdir(parents=True)
            for name in files:
                shutil.copy(data / f"images/{label}/{name}.png", tmp_path / split / label)
    found = evaluate(predictor("image"), str(tmp_path))
    assert (found.measures.examples, found.data.split) == (2, "the test split")


def test_classes_are_matched_by_name_and_unknown_ones_are_not_measured(predictor, red_and_blue):
    image = predictor("image")
    found = evaluate(image, str(red_and_blue))
    counts = {c.label: c.examples for c in found.measures.classes}
    assert counts == {"blue": 20, "green": 0, "red": 20}
    assert found.measures.accuracy > 0.8  # it would be under a third with the data's own numbers
    assert found.unknown == {"a lawn": 20}
    assert found.absent == ["green"]
    assert any("a lawn (20)" in note for note in found.notes)


def test_what_cannot_be_read_is_named_and_neither_right_nor_wrong(predictor, red_and_blue):
    (red_and_blue / "red/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    (red_and_blue / "blue/notes.docx").write_bytes(b"x")
    image = predictor("image")
    before = evaluate(image, str(red_and_blue))
    (red_and_blue / "red/broken.png").unlink()
    without = evaluate(image, str(red_and_blue))
    (left,) = before.left_out
    assert (Path(left.input).name, left.label) == ("broken.png", "red")
    assert "picture" in left.reason
    assert before.measures.examples == without.measures.examples == 40
    np.testing.assert_array_equal(before.measures.confusion, without.measures.confusion)
    assert [Path(s.source).name for s in before.data.skipped] == ["notes.docx"]


def test_a_file_that_vanishes_is_left_out_and_the_others_keep_their_scores(predictor, data):
    image = predictor("image")
    listed = load_labelled(str(data / "images"))
    whole = collect(image, listed, image.model.labels, threads=2)
    listed.examples.insert(3, Example(data / "images/blue/gone.png", 0))
    found = collect(image, listed, image.model.labels, threads=2)
    assert [Path(left.input).name for left in found.left_out] == ["gone.png"]
    assert "no such file" in found.left_out[0].reason
    assert found.sources == whole.sources
    np.testing.assert_allclose(found.scores, whole.scores, atol=1e-6)


def test_one_class_only(predictor, data, tmp_path):
    shutil.copytree(data / "images/red", tmp_path / "only/red")
    found = evaluate(predictor("image"), str(tmp_path / "only"))
    assert found.measures.accuracy == found.measures.classes[2].recall
    assert any("one class" in note for note in found.notes)


def test_the_progress_ends_at_all_examples(predictor, red_and_blue):
    begun, done = [], []
    evaluate(predictor("image"), str(red_and_blue), begin=begun.append, advance=done.append)
    assert begun == [60]
    assert sum(done) == 60


@pytest.mark.parametrize(
    ("files", "error", "said"),
    [
        ({"cat/0.png": b"x", "dog/0.png": b"x"}, EvaluationError, r"cat, dog.*blue, green, red"),
        ({"red/0.png": b"x", "red/1.png": b""}, EvaluationError, r"not one example.*0\.png"),
        ({"red/0.txt": b"a text"}, EvaluationError, "takes image, and new is text"),
        ({"red/0.docx": b"x"}, DatasetError, "no examples"),
        ({"0.png": b"x"}, DatasetError, "no class folders"),
        (
            {"test/red/0.docx": b"x", "train/red/0.png": b"x"},
            DatasetError,
            "no example in the test",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(files, error, said, predictor, tmp_path):
    for name, content in files.items():
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / name).write_bytes(content)
    with pytest.raises(error, match=said):
        evaluate(predictor("image"), str(tmp_path / "new"))
