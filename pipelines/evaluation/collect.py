"""Labelled examples through the batch Predictor: scores beside true classes, and what was left out.

An example is measured or it is left out with a reason; there is nothing between.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.batch.account import Account
from pipelines.batch.local import predict_all
from pipelines.batch.reading import chunks
from pipelines.batch.sources.item import Item
from pipelines.batch.storage import describe
from pipelines.batch.workers import Predict, Workers
from pipelines.datasets import Labelled
from pipelines.datasets.dataset import Example
from serving.runtime.decoding import DEFAULT_LIMITS, Limits

TABLE_ROWS = 64


class LeftOut(NamedTuple):
    input: str
    label: str
    reason: str


@dataclass(frozen=True)
class Answers:
    """In the order of the examples, without those that were left out."""

    true: npt.NDArray[np.int64]  # [N], in the model's numbering
    scores: npt.NDArray[np.float32]  # [N, K]
    sources: list[Path | str]
    left_out: list[LeftOut]
    unknown: dict[str, int]  # class that the model has no label for -> its examples, not measured


def collect(
    predict: Predict,
    data: Labelled,
    labels: Sequence[str],
    threads: int = 1,
    advance: Callable[[int], object] = lambda count: None,
    limits: Limits = DEFAULT_LIMITS,
) -> Answers:
    """
    Args: predict: a Predictor of one row an input, with all scores; called from `threads` at once;
          labels:  the model's, which need not be the data's, nor in their order;
          advance: is told how many more examples are done;
          limits:  of a file.
    """
    class_ids = {label: i for i, label in enumerate(labels)}
    unknown = Counter(
        label for e in data.examples if (label := data.labels[e.class_id]) not in class_ids
    )
    advance(unknown.total())
    known = [e for e in data.examples if data.labels[e.class_id] in class_ids]
    left_out: list[LeftOut] = []
    true: list[int] = []
    sources: list[Path | str] = []
    scores = [np.empty((0, len(labels)), np.float32)]
    given = chunks(map(_item, known), max(1, len(known)), frozenset(), TABLE_ROWS)
    examples = iter(known)
    with Workers([predict] * threads) as workers:
        answered = predict_all(given, workers, limits=limits, account=Account())
        for chunk, answers in answered:
            for error in answers["error"].to_pylist():
                example = next(examples)
                label = data.labels[example.class_id]
                if error is not None:
                    left_out.append(LeftOut(_name(example.source), label, error))
                else:
                    true.append(class_ids[label])
                    sources.append(example.source)
            scores.append(_scores(answers, len(labels)))
            advance(len(chunk.items))
    every = np.concatenate(scores)
    return Answers(np.array(true, np.int64), every, sources, left_out, dict(unknown))


def _item(example: Example) -> Item:
    source = example.source
    if isinstance(source, str):
        return Item(source, data=source)
    found = describe(str(source))
    return Item(_name(source), str(source), size=found.size if found else 0)


def _name(source: Path | str) -> str:
    """A file's name need not be UTF-8, and a table's strings are."""
    return str(source).encode(errors="backslashreplace").decode()


def _scores(answers: pa.Table, classes: int) -> npt.NDArray[np.float32]:
    """float32 [N, K] of the rows without an error."""
    good = answers.filter(pc.is_null(answers["error"]))["all_scores"].combine_chunks()
    return good.flatten().to_numpy(zero_copy_only=False).reshape(-1, classes)
