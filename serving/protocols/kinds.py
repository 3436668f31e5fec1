"""Messages that come again and again, but for an id and the bytes of a tensor.

So a client sends them. What such a message says is kept, and the next of its kind is only compared:
protobuf's accessors take ten times as long.
"""

from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from serving.protocols.wire import LENGTH, VARINT, varint

MOST_KINDS = 32
MOST_KIND_BYTES = 1024

Said = TypeVar("Said")


class Found(NamedTuple, Generic[Said]):
    said: Said
    id: str
    tensor: memoryview


class _Kind(NamedTuple, Generic[Said]):
    """Messages that are `before`, an id or none, `after`, and so many bytes of a tensor."""

    before: bytes
    after: bytes
    tensor_bytes: int
    said: Said


class _Parts(NamedTuple):
    """Where in a message its id begins and ends, or would; and its tensor begins."""

    before: int
    after: int
    tensor: int


class Kinds(Generic[Said]):
    """The last ones.

    Args: tensor: field numbers, from the message down to the tensor's bytes.
          id_number: below 16, of the message's id; None if it has none.
    """

    def __init__(self, tensor: Sequence[int], id_number: int | None = None) -> None:
        self._tensor = tensor
        self._id_number = id_number
        self._id_tag = id_number << 3 | LENGTH if id_number is not None else None
        self._kinds: deque[_Kind[Said]] = deque(maxlen=MOST_KINDS)

    def find(self, data: bytes) -> Found[Said] | None:
        for kind in self._kinds:
            before, after, tensor_bytes, said = kind
            at, found_id = len(before), ""
            if not data.startswith(before) or len(data) < at + 2:
                continue
            if data[at] == self._id_tag:
                # Of a longer id, whose size has more bytes, the sum does not come out even.
                start = at + 2
                at = start + data[at + 1]
                try:
                    found_id = data[start:at].decode()
                except UnicodeDecodeError:  # protobuf says so
                    continue
            tensor = at + len(after)
            if len(data) == tensor + tensor_bytes and data.startswith(after, at):
                return Found(said, found_id, memoryview(data)[tensor:])
        return None

    def add(self, data: bytes, said: Said) -> None:
        """Nothing of a message that is large beside its tensor, or does not end with it.

        Args: data: as protobuf has parsed it.
              said: what it says, whatever its id is, and the bytes of its last tensor.
        """
        parts = self._parts(data)
        if parts is None:
            return
        before, after = data[: parts.before], data[parts.after : parts.tensor]
        kind = _Kind(before, after, len(data) - parts.tensor, said)
        if kind[:3] not in [known[:3] for known in self._kinds]:
            self._kinds.appendleft(kind)

    def _parts(self, data: bytes) -> _Parts | None:
        at, before, after, has_id = 0, -1, 0, False
        for depth, wanted in enumerate(self._tensor):
            while True:
                field = at
                if field >= min(len(data), MOST_KIND_BYTES):
                    return None
                tag, at = varint(data, at)
                number, kind = tag >> 3, tag & 7
                if kind == VARINT:
                    _, at = varint(data, at)
                    continue
                if kind != LENGTH:
                    return None
                size, at = varint(data, at)
                if depth == 0 and self._id_number is not None:
                    if number == self._id_number:
                        if has_id:
                            return None
                        has_id, before, after = True, field, at + size
                    elif number > self._id_number and before < 0:  # where protobuf writes an id
                        before = after = field
                if at + size == len(data):
                    if number != wanted:
                        return None
                    break
                at += size
        return _Parts(max(before, 0), after, at)
