"""What a row is: one input's labels, or the reason why it has none. The same from every engine.

input       string          name, path or text
labels      list<string>    the best first; null with an error, as all that follows
scores      list<float32>   of these labels, after softmax
all_scores  list<float32>   of all labels, in the model's order      (if asked for)
embedding   list<float32>   what the network's head sees             (if asked for)
...                         which part of the input, as windows.py and text_windows.py say
error       string          null where the input was classified
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FLOATS = pa.list_(pa.float32())
PREFIX = "triptych."  # of the schema's metadata
BOX = tuple(pa.field(name, pa.int32()) for name in ("top", "left", "bottom", "right"))


@dataclass(frozen=True)
class ModelIdentity:
    """What answered. `digest`: of graph and weights, whatever the version's number."""

    name: str
    version: int
    digest: str
    domain: str  # "image", "audio" or "text"
    labels: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}, version {self.version}"


@dataclass
class Row:
    """
    Args: position: a value for each of the schema's columns that say which part it is.
    """

    input: str
    position: tuple[float, ...] = ()
    labels: list[str] | None = None
    scores: list[float] | None = None
    all_scores: npt.NDArray[np.float32] | None = None
    embedding: npt.NDArray[np.float32] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which of the optional columns there are."""

    all_scores: bool = False
    embedding: bool = False
    position: tuple[pa.Field, ...] = field(default=())

    def schema(self, model: ModelIdentity) -> pa.Schema:
        return pa.schema(
            [
                pa.field("input", pa.string(), nullable=False),
                pa.field("labels", pa.list_(pa.string())),
                pa.field("scores", FLOATS),
                *([pa.field("all_scores", FLOATS)] if self.all_scores else []),
                *([pa.field("embedding", FLOATS)] if self.embedding else []),
                *self.position,
                pa.field("error", pa.string()),
            ],
            {
                f"{PREFIX}model": model.name,
                f"{PREFIX}version": str(model.version),
                f"{PREFIX}digest": model.digest,
                f"{PREFIX}labels": json.dumps(model.labels, ensure_ascii=False),
            },
        )

    def table(self, rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
        values: dict[str, list] = {
            "input": [row.input for row in rows],
            "labels": [row.labels for row in rows],
            "scores": [row.scores for row in rows],
            "error": [row.error for row in rows],
        }
        if self.all_scores:
            values["all_scores"] = [row.all_scores for row in rows]
        if self.embedding:
            values["embedding"] = [row.embedding for row in rows]
        for i, column in enumerate(self.position):
            values[column.name] = [row.position[i] if row.position else None for row in rows]
        return pa.table([pa.array(values[f.name], f.type) for f in schema], schema=schema)
