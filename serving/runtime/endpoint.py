"""What an endpoint of a SavedModel takes and gives, and whether tensors fit. No TensorFlow here."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput

Tensors = Mapping[str, npt.NDArray[Any]]  # strings: object arrays of bytes
Shape = tuple[int | None, ...]

STRING = np.dtype(object)
MAX_LISTED = 8  # names in an error message
MAX_NAME_CHARACTERS = 100  # of a client's name that a message repeats


class TensorSpec(NamedTuple):
    """
    shape: None is any size; for the whole shape, any rank.
    below: values are codes, from 0 on and below it; None where any number is taken.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape | None
    below: int | None = None

    def __str__(self) -> str:
        return f"{type_name(self.dtype)} {shape_text(self.shape)}"

    def fits(self, value: npt.NDArray[Any]) -> bool:
        return value.dtype == self.dtype and (
            self.shape is None
            or (
                len(self.shape) == value.ndim
                and all(
                    size is None or size == given
                    for size, given in zip(self.shape, value.shape, strict=True)
                )
            )
        )


class Endpoint(NamedTuple):
    """`batched`: the first axis of every input and output is the batch."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    batched: bool

    def check(self, inputs: Tensors) -> None:
        """Raises: InvalidInput, naming what came and what was expected."""
        if inputs.keys() != self.inputs.keys():
            raise InvalidInput(
                f"endpoint {self.name!r} takes {names(self.inputs)}, and the request has "
                f"{names(inputs)}"
            )
        for name, spec in self.inputs.items():
            if not spec.fits(inputs[name]):
                value = inputs[name]
                raise InvalidInput(
                    f"input {name!r} is {type_name(value.dtype)} {shape_text(value.shape)}, and "
                    f"endpoint {self.name!r} takes {spec}"
                )
        if self.batched:
            sizes = {name: len(value) for name, value in inputs.items()}
            if len(set(sizes.values())) > 1:
                raise InvalidInput(
                    "inputs of one request have the same first axis, and these have "
                    + ", ".join(f"{name}: {size}" for name, size in sizes.items())
                )
            if not all(sizes.values()):
                raise InvalidInput("the batch is empty: send at least one example")
        for name, spec in self.inputs.items():
            if spec.below is not None:
                self._require_codes(name, inputs[name], spec.below)

    def of_codes(self, below: int) -> "Endpoint":
        """The same, its whole numbers being codes."""
        inputs = {
            name: spec._replace(below=below) if spec.dtype.kind in "iu" else spec
            for name, spec in self.inputs.items()
        }
        return self._replace(inputs=inputs)

    def _require_codes(self, name: str, value: npt.NDArray[Any], below: int) -> None:
        """Executors look them up: TensorFlow fails at others, and OpenVINO computes something."""
        if not value.size or (value.min() >= 0 and value.max() < below):
            return
        place = np.unravel_index(np.argmax((value < 0) | (value >= below)), value.shape)
        raise InvalidInput(
            f"input {name!r} is {value[place]} at {shape_text([int(i) for i in place])}, and "
            f"endpoint {self.name!r} takes codes from 0 to {below - 1}: send what the model's "
            "`preprocess` endpoint gives"
        )


def type_name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype == STRING else dtype.name


def shape_text(shape: Sequence[int | None] | None) -> str:
    if shape is None:
        return "of any shape"
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def names(known: Mapping[str, Any]) -> str:
    """For a message: at most a few, and short."""
    listed = [repr(name[:MAX_NAME_CHARACTERS]) for name in sorted(known)[:MAX_LISTED]]
    more = len(known) - len(listed)
    return (", ".join(listed) or "none") + (f" and {more} more" if more else "")
