"""Large fields of a protobuf message, left where they came: parsing it copies them twice.

What a field means is its protocol's matter.
"""

from collections.abc import Sequence
from typing import Any

LARGE_BYTES = 2**16  # a message that is smaller is parsed sooner than it is looked through
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # kinds of fields, by protobuf's encoding
MOST_VARINT_BYTES = 10


def lift(data: bytes | memoryview, path: Sequence[int]) -> tuple[bytes, list[memoryview]]:
    """
    Args:    path: field numbers, from the message down to the bytes.
    Returns: the message without them, and them, in order. All of it, and none, where it is not as
             protobuf writes it: then the parser says so.
    """
    view = memoryview(data)
    try:
        return _lift(view, path)
    except IndexError:
        return bytes(view), []


def packed(message: Any, number: int) -> memoryview:
    """The bytes of a packed field; none if it has no values. The message loses unknown fields."""
    message.DiscardUnknownFields()  # may be of kinds that are no more in use
    _, written = lift(message.SerializeToString(), (number,))
    return written[0] if written else memoryview(b"")


def field(number: int, content: bytes) -> bytes:
    """A field of bytes or of packed numbers, as a message of it alone."""
    if number < 16 and len(content) < 0x80:
        return bytes((number << 3 | LENGTH, len(content))) + content
    return _as_varint(number << 3 | LENGTH) + _as_varint(len(content)) + content


def _lift(view: memoryview, path: Sequence[int]) -> tuple[bytes, list[memoryview]]:
    """Raises: IndexError if it ends too early, or is none."""
    kept: list[bytes | memoryview] = []
    lifted: list[memoryview] = []
    at = done = 0  # what is before the second is in `kept`, or lifted
    while at < len(view):
        field = at
        tag, at = varint(view, at)
        if tag & 7 == LENGTH:
            after_tag = at
            size, at = varint(view, at)
            content = view[at : at + size]
            at += size
            if tag >> 3 == path[0]:
                if len(path) == 1:
                    lifted.append(content)
                    kept.append(view[done:field])
                else:
                    rest, found = _lift(content, path[1:])
                    lifted += found
                    kept += (view[done:after_tag], _as_varint(len(rest)), rest)
                done = at
        elif tag & 7 == VARINT:
            _, at = varint(view, at)
        else:
            at += {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(tag & 7, len(view) + 1)
    if at > len(view):
        raise IndexError("cut off, or a kind of field that is no more in use")
    kept.append(view[done:])
    return b"".join(kept), lifted


def varint(view: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number, and where the next begins. Raises: IndexError if it has no end."""
    value = view[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for place in range(1, MOST_VARINT_BYTES):
        byte = view[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise IndexError("a varint has at most ten bytes")


def _as_varint(number: int) -> bytes:
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
