"""What a method shows: a picture for people, arrays for programs, and what is to be read off it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy.typing as npt


class Exhibit(NamedTuple):
    png: bytes
    values: Mapping[str, npt.NDArray]
    facts: list[str]  # a line each
