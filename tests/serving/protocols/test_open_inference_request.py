"""Reading requests: one that has seen others of a kind reads as one that has seen none."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from serving.errors import InvalidInput
from serving.protocols.kinds import MOST_KIND_BYTES, MOST_KINDS
from serving.protocols.open_inference_request import Reader

IDS = st.sampled_from(["", "1", "22", "é", "i" * 127, "i" * 128])
MODELS = st.sampled_from(["m", "other", "m" * MOST_KIND_BYTES])


def message(request_id="1", model="m", contents=(b"abcd",), shape=(1, 1), **parameters):
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    for number in range(len(contents)):
        request.inputs.add(name=f"x{number}", datatype="FP32", shape=shape)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    request.raw_input_contents.extend(contents)
    return request


@st.composite
def messages(draw):
    """Alike but for some of their fields; some are no messages, or none that can be understood."""
    contents = draw(st.lists(st.binary(max_size=9), max_size=2))
    shape = draw(st.sampled_from([(1, 1), (1, -1), (2**40,)]))
    more = draw(st.sampled_from([{}, {"priority": 1}, {"priority": -1}, {"timeout": 7}]))
    request = message(draw(IDS), draw(MODELS), contents, shape, **more)
    if draw(st.booleans()):
        request.outputs.add(name=draw(st.sampled_from(["logits", "scores"])))
    if draw(st.booleans()) and request.inputs:
        request.inputs[0].contents.fp32_contents.append(1.5)
    data = request.SerializeToString()
    if draw(st.booleans()):  # an id elsewhere, twice, of no text; a field that no type has; cut off
        start = draw(st.sampled_from([b"", b"\x1a\x01z", b"\x1a\x01\xff", b"\xf8\x01\x05"]))
        data = start + data[: len(data) - draw(st.integers(0, 3))]
    return data


def outcome(reader, data):
    """All that a request says, or why it says nothing."""
    try:
        request = reader.read(data)
    except DecodeError:
        return "no message"
    head = request.id, request.model, request.version, request.ByteSize()
    try:
        asked, given = reader.understand(request)
    except InvalidInput as error:
        return (*head, str(error))
    values = [bytes(v) if isinstance(v, bytes | memoryview) else np.array(v) for v in given]
    return (*head, asked.options, list(asked.inputs), list(asked.wanted), values)


@given(st.lists(messages(), min_size=2, max_size=8))
def test_what_was_read_before_changes_nothing(them):
    reader = Reader()
    for data in [*them, *them]:
        np.testing.assert_equal(outcome(reader, data), outcome(Reader(), data))


BODY = message("").SerializeToString()
TWO = message(contents=[b"abcd", b"efgh"]).SerializeToString()
TWICE = b"\x1a\x01z" + message("1").SerializeToString()


@pytest.mark.parametrize(
    ("before", "data"),
    [
        (BODY, BODY[:-1]),
        (BODY, BODY + b"\x1a\x01z"),
        (BODY, message("1").SerializeToString().replace(b"\x1a\x011", b"\x1a\x01\xff")),
        (TWICE, b"\x1a\x01z" + BODY),
        (TWO, TWO.removesuffix(b"\x3a\x04efgh")),
        (b"\xf8\x01\x06" + message("1").SerializeToString(),) * 2,  # a number, and no length
    ],
    ids=["cut off", "an id behind", "no text", "the first of two ids", "data of one", "number"],
)
def test_what_is_almost_of_a_kind(before, data):
    reader = Reader()
    outcome(reader, before)
    assert str(outcome(reader, data)) == str(outcome(Reader(), data))


def is_known(reader, request):
    return reader.read(request.SerializeToString()).asked is not None


def reader_of(*requests):
    reader = Reader()
    for request in requests:
        reader.understand(reader.read(request.SerializeToString()))
    return reader


def test_a_kind_is_known_by_all_but_id_and_values():
    reader = reader_of(message("1", contents=[b"abcd"]))
    for request_id in ("1", "", "another"):
        assert is_known(reader, message(request_id, contents=[b"1234"]))
    for other in (
        message(model="n"),
        message(contents=[b"abcdefgh"]),
        message(shape=(1, 2)),
        message(priority=1),
    ):
        assert not is_known(reader, other)


def test_an_id_before_all_else_is_known_too():
    body = b"\x1a\x0212" + message("").SerializeToString()
    reader = Reader()
    reader.understand(reader.read(body))
    request = reader.read(body.replace(b"12", b"34", 1).replace(b"abcd", b"efgh"))
    assert (request.id, bytes(request.contents[0])) == ("34", b"efgh")
    assert request.asked is not None


def test_of_many_kinds_the_last_are_known_and_none_twice():
    kinds = [message(shape=(1, size)) for size in range(MOST_KINDS + 1)]
    long_id = message("i" * 200, shape=(1, 10**6))  # is read by protobuf each time
    reader = reader_of(*kinds, *[long_id] * 5)
    assert [is_known(reader, kind) for kind in kinds] == [False] * 2 + [True] * (MOST_KINDS - 1)


def test_nothing_large_is_kept():
    large = message(model="m" * MOST_KIND_BYTES)
    assert not is_known(reader_of(large), large)
