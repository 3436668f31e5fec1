"""A data set's inputs as examples; what can't be read is left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy.typing as npt

from pipelines.datasets import Example
from pipelines.explain.errors import ExplainError
from pipelines.explain.network import Network
from serving.errors import InvalidInput


class Readable(NamedTuple):
    item: bytes | str
    example: npt.NDArray
    class_id: int


def read(network: Network, examples: Sequence[Example]) -> list[Readable]:
    """In their order.  Raises: ExplainError if there is none."""
    found = []
    for each in examples:
        try:
            source = each.source
            item = source.read_bytes() if isinstance(source, Path) else source
            found.append(Readable(item, network.example(item), each.class_id))
        except (InvalidInput, OSError):
            continue
    if not found:
        raise ExplainError(f"none of these {len(examples)} inputs could be read")
    return found
