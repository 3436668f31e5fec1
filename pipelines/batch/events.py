"""What happens in a run, told as it happens; printing it is the command line's matter."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipelines.batch.errors import BatchError
from pipelines.batch.formats import Counts

TOLD_ERRORS = 3  # of a summary


@dataclass(frozen=True)
class Started:
    """done: inputs whose rows are there already, of an earlier run."""

    model: str
    version: int
    inputs: int
    done: int
    output: str
    notes: tuple[str, ...]
    event: str = "started"


@dataclass(frozen=True)
class Advanced:
    """Since the last event."""

    inputs: int
    errors: int
    event: str = "advanced"


@dataclass(frozen=True)
class Wrote:
    shard: str
    rows: int
    event: str = "wrote"


@dataclass(frozen=True)
class Summary:
    """
    labels:        rows by their best label, of the whole output; errors: those with one.
    new_inputs:    of this run, in `seconds`; start_seconds: until the first could be computed.
    stage_seconds: of all threads together; compute on lanes waits for a lane.
    """

    model: str
    version: int
    output: str
    inputs: int
    labels: dict[str, int]
    errors: int
    first_errors: tuple[tuple[str, str], ...]
    new_inputs: int
    seconds: float
    start_seconds: float
    stage_seconds: dict[str, float]
    event: str = "done"

    @property
    def inputs_per_second(self) -> float:
        return self.new_inputs / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"inputs_per_second": round(self.inputs_per_second, 2)}


Event = Started | Advanced | Wrote | Summary
Tell = Callable[[Event], None]


class Tally:
    """What has been found so far, told as it comes."""

    def __init__(self, max_errors: int | None, tell: Tell) -> None:
        self.labels: Counter[str] = Counter()
        self.errors = 0
        self.first_errors: list[tuple[str, str]] = []
        self._max_errors = max_errors
        self._new_errors = 0
        self._tell = tell

    def found(self, counts: Counts) -> None:
        """In a shard that is there."""
        self.labels.update(counts.labels)
        self.errors += counts.errors

    def advanced(self, inputs: int, errors: int, examples: Sequence[tuple[str, str]]) -> None:
        """
        Args:   examples: of the errors, with the inputs' names.
        Raises: BatchError if there are too many errors.
        """
        self._new_errors += errors
        self.first_errors += examples[: TOLD_ERRORS - len(self.first_errors)]
        self._tell(Advanced(inputs, errors))
        if self._max_errors is not None and self._new_errors > self._max_errors:
            name, reason = self.first_errors[0]
            raise BatchError(
                f"{self._new_errors} inputs could not be classified, and {self._max_errors} are "
                f"allowed (--max-errors); the first is {name}: {reason}"
            )

    def wrote(self, shard: str, rows: int, found: Counts) -> None:
        self.found(found)
        self._tell(Wrote(shard, rows))


def examples_of(table: pa.Table) -> list[tuple[str, str]]:
    """A few of its errors, with the inputs' names."""
    wrong = table.filter(table["error"].is_valid()).slice(0, TOLD_ERRORS)
    return list(zip(wrong["input"].to_pylist(), wrong["error"].to_pylist(), strict=True))
