"""A finished model on labelled data: everything that the report tells, measured in one pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.batch.predictor import Predictor
from pipelines.batch.schema import ModelIdentity
from pipelines.datasets import Labelled, load_dataset, load_labelled
from pipelines.datasets.measuring import OWN_TEST, of_dataset
from pipelines.evaluation.calibration import Calibration, calibrate
from pipelines.evaluation.collect import LeftOut, collect
from pipelines.evaluation.measures import Measures, measure
from pipelines.evaluation.mistakes import Confusion, Mistake, most_confident, most_frequent
from pipelines.evaluation.ten_crops import TenCrops
from protos.triptych.v1 import manifest_pb2

NAMED = 5  # classes that a message lists
TEN_CROPS = (
    "Scores are the mean of ten crops of each picture. Servers and batch jobs look at one view of"
    " it, the whole, and may answer otherwise."
)


class EvaluationError(Exception):
    """Nothing could be measured; the text says why, and what to do."""


@dataclass(frozen=True)
class Evaluation:
    """
    notes:   what a reader must know to take the figures for what they are.
    unknown: classes of the data that the model has no label for -> their examples, not measured.
    absent:  labels of the model that the data have no example of.
    """

    model: ModelIdentity
    manifest: manifest_pb2.Manifest
    data: Labelled
    created: datetime
    notes: list[str]
    measures: Measures
    calibration: Calibration
    mistakes: list[Mistake]
    confusions: list[Confusion]
    left_out: list[LeftOut]
    unknown: dict[str, int]
    absent: list[str]


def evaluate(
    predictor: Predictor,
    data: str,
    data_dir: Path | None = None,
    begin: Callable[[int], object] = lambda count: None,
    advance: Callable[[int], object] = lambda count: None,
    ten_crops: bool = False,
) -> Evaluation:
    """Measure a model on `data`.

    Args:   predictor: of one row an input, with all scores.
            data, data_dir: as of `pipelines.datasets.load_dataset`. Measured is the test split that
            they bring; what training held out, if it was trained on these; or else all of them.
            begin, advance: are told how many examples there are, and how many more are done.
            ten_crops: of each picture, in place of one view.
    Raises: DatasetError, EvaluationError, each saying what to do.
    """
    model, labels = predictor.model, list(predictor.model.labels)
    found, notes = _examples(data, data_dir, predictor.manifest)
    _require_fit(found, model)
    if ten_crops and model.domain != "image":
        raise EvaluationError(
            f"{model.name} takes {model.domain}, of which there are no ten crops: leave them out"
        )
    begin(len(found.examples))
    predict = TenCrops(predictor) if ten_crops else predictor
    answers = collect(predict, found, labels, predictor.lanes, advance)
    if not answers.sources:
        first = answers.left_out[0]
        raise EvaluationError(
            f"not one example of {data} could be read; the first, {first.input}: {first.reason}"
        )
    measures = measure(answers.true, answers.scores, labels)
    absent = [c.label for c in measures.classes if not c.examples]
    return Evaluation(
        model=model,
        manifest=predictor.manifest,
        data=found,
        created=datetime.now(UTC),
        notes=[
            *notes,
            *([TEN_CROPS] if ten_crops else []),
            *_notes(answers.left_out, answers.unknown, absent, labels),
        ],
        measures=measures,
        calibration=calibrate(answers.true, answers.scores),
        mistakes=most_confident(answers.true, answers.scores, answers.sources, labels),
        confusions=most_frequent(measures.confusion, labels),
        left_out=answers.left_out,
        unknown=answers.unknown,
        absent=absent,
    )


def _examples(
    data: str, data_dir: Path | None, manifest: manifest_pb2.Manifest
) -> tuple[Labelled, list[str]]:
    found = load_labelled(data, data_dir)
    trained = manifest.dataset
    if found.split == OWN_TEST or (found.name, found.origin) != (trained.name, trained.source):
        return found, []
    if found.total == (
        trained.train_examples + trained.validation_examples + trained.test_examples
    ):
        held_out = load_dataset(data, data_dir, seed=manifest.seed)
        return of_dataset(held_out, "held out by training for tests"), []
    return found, [
        f"The model was trained on data of this name, of which it does not know these"
        f" {found.total:,} examples apart: some may be those that it learned from, and the figures"
        " too good. Measure on a folder of new ones."
    ]


def _require_fit(data: Labelled, model: ModelIdentity) -> None:
    if model.domain != data.domain:
        raise EvaluationError(
            f"{model.name} takes {model.domain}, and {data.name} is {data.domain}: give data of the"
            " model's domain"
        )
    if len(model.labels) < 2:
        raise EvaluationError(f"{model.name} has one label: there is nothing to tell apart")
    classes = {data.labels[example.class_id] for example in data.examples}
    if classes.isdisjoint(model.labels):
        raise EvaluationError(
            f"no class of {data.name} ({listed(sorted(classes))}) is a label of {model.name}"
            f" ({listed(model.labels)}): name classes as the model does"
        )


def _notes(
    left_out: list[LeftOut], unknown: dict[str, int], absent: list[str], labels: list[str]
) -> list[str]:
    notes = []
    if unknown:
        counted = [f"{label} ({n:,})" for label, n in sorted(unknown.items())]
        notes.append(f"Not measured: classes that the model has no label for, {listed(counted)}.")
    if left_out:
        notes.append(
            f"Not measured: what could not be read ({len(left_out):,}), named below. It counts"
            " neither as right nor as wrong."
        )
    if len(absent) == len(labels) - 1:
        notes.append(
            "All examples are of one class: accuracy is its recall, and says nothing of how often"
            " the model sees it where it is not."
        )
    elif absent:
        notes.append(f"The data have no example of {listed(absent)}.")
    return notes


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
