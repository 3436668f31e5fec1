"""What is sent, and how its answers are read: made once, before anything is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from triptych.loadgen.closed_loop import Sample

ANY_SIZE = 64  # of an axis for which the model names no size


class CannotPlan(Exception):
    """The model, or the server, cannot be asked so; the text says what to change."""


class Wanted(NamedTuple):
    """
    files:    encoded inputs or texts to send in turn; empty: tensors or inputs are made up.
    batch:    inputs in one request.
    any_size: for axes of any size.
    """

    model: str
    files: Sequence[bytes | str] = ()
    batch: int = 1
    version: int | None = None
    any_size: int = ANY_SIZE
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class Stream:
    """A request on it is a head, which has its id, and a body, which are one message together."""

    path: str
    bodies: tuple[bytes, ...]
    head: Callable[[str], bytes]
    id_of: Callable[[bytes], str]
    refusal: Callable[[bytes], tuple[str, str] | None]  # a status's name, and the reason
    sample: Callable[[bytes], Sample]


@dataclass(frozen=True)
class Plan:
    """
    path:    of the method, as "/package.Service/Method".
    bodies:  serialised requests, sent in turn.
    problem: what is wrong with an answer, if anything.
    what:    for the reader, what a request has in it.
    """

    path: str
    bodies: tuple[bytes, ...]
    inputs: int
    problem: Callable[[bytes], str | None]
    what: str
    stream: Stream | None = None

    @property
    def bytes_a_request(self) -> int:
        return sum(map(len, self.bodies)) // len(self.bodies)


def groups(files: Sequence[bytes | str], batch: int) -> list[list[bytes | str]]:
    """As many requests as it takes for each file to be sent at least once."""
    count = -(-len(files) // batch)
    return [
        [files[(first * batch + i) % len(files)] for i in range(batch)] for first in range(count)
    ]


def field(number: int, value: bytes) -> bytes:
    """A protobuf field of bytes, a string or a message."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
