"""TensorProto <-> numpy: TensorFlow's own functions are the judge, and garbage is refused."""

import tracemalloc
from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.errors import InvalidInput
from serving.protocols.tensorflow_serving_tensors import MAX_TAIL_BYTES, TYPES, decode, encode

TensorProto = tensor_pb2.TensorProto
MOST_BYTES = 10_000
HUGE = 2**62
NUMERIC = [known.dtype for known in TYPES.values() if known.name != "DT_STRING"]
# numpy's strategies know no bfloat16.
PLAIN = [dtype for dtype in NUMERIC if dtype != ml_dtypes.bfloat16]


def shaped(proto: TensorProto, *sizes: int) -> TensorProto:
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    return proto


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(ours, theirs)


def typed(array: np.ndarray) -> TensorProto:
    """All values in the type's own field, as clients without numpy send them."""
    field = next(known.field for known in TYPES.values() if known.dtype == array.dtype)
    proto = TensorProto(dtype=tf.dtypes.as_dtype(array.dtype).as_datatype_enum)
    flat = array.ravel()
    if field == "half_val":
        flat = flat.view(np.uint16)
    if array.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    getattr(proto, field).extend(flat.tolist())
    return shaped(proto, *array.shape)


def test_the_table_is_that_of_tensorflow() -> None:
    for number, known in TYPES.items():
        assert types_pb2.DataType.Name(number) == known.name
        assert tf.dtypes.as_dtype(number).as_numpy_dtype == known.dtype
        assert TensorProto.DESCRIPTOR.fields_by_name[known.field].number == known.number


arrays = st.sampled_from(PLAIN).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4))
)
strings = hnp.arrays(object, hnp.array_shapes(min_dims=0, max_dims=3), elements=st.binary())


@given(arrays | strings)
def test_what_tensorflow_writes_is_read(array) -> None:
    proto = tf.make_tensor_proto(array)
    same(decode(proto, MOST_BYTES), tf.make_ndarray(proto))


@given(arrays | strings)
def test_tensorflow_reads_what_is_written(array) -> None:
    proto = TensorProto()
    encode(array, proto)
    assert proto.dtype == tf.make_tensor_proto(array).dtype
    same(tf.make_ndarray(proto), array)
    same(decode(proto, MOST_BYTES), array)


@given(arrays)
def test_values_in_fields_of_their_own_are_read(array) -> None:
    if array.size:
        same(decode(typed(array), MOST_BYTES), array)


def test_bfloat16_both_ways() -> None:
    array = np.array([[1.5, -2.0], [0.0, np.inf]], ml_dtypes.bfloat16)
    same(decode(tf.make_tensor_proto(array), MOST_BYTES), array)
    same(decode(typed(array), MOST_BYTES), array)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_of_any_length_are_read(values) -> None:
    same(decode(typed(np.array(values, np.int64)), 2**20), np.array(values, np.int64))


@given(hnp.arrays(object, st.integers(0, 5), elements=st.binary(max_size=300)))
def test_strings_in_tensor_content_are_read_as_tensorflow_writes_them(array) -> None:
    """Which only its C++ does: the lengths as varints, then the bytes."""
    lengths = b"".join(
        bytes([len(item)]) if len(item) < 128 else bytes([len(item) & 127 | 128, len(item) >> 7])
        for item in array
    )
    proto = shaped(TensorProto(dtype=types_pb2.DT_STRING), len(array))
    proto.tensor_content = lengths + b"".join(array)
    same(decode(proto, MOST_BYTES), array)


def test_a_string_alone_is_written() -> None:
    """TensorFlow's arrays of one string are bytes."""
    proto = TensorProto()
    encode(np.asarray(b"red"), proto)
    assert tf.make_ndarray(proto) == b"red"


# Fewer values than a shape takes


@pytest.mark.parametrize("values", [[0.25], [1, 2, 3]])
def test_the_last_value_stands_for_what_is_missing(values) -> None:
    proto = shaped(TensorProto(dtype=types_pb2.DT_FLOAT, float_val=values), 2, 5)
    same(decode(proto, MOST_BYTES), tf.make_ndarray(proto))


def test_the_last_string_stands_for_what_is_missing() -> None:
    proto = shaped(TensorProto(dtype=types_pb2.DT_STRING, string_val=[b"a", b"b"]), 4)
    same(decode(proto, MOST_BYTES), np.array([b"a", b"b", b"b", b"b"], object))


def test_a_value_for_all_takes_no_memory() -> None:
    proto = shaped(TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1]), 1024, 1024)
    assert peak_bytes(proto, 2**22) < 100_000
    assert decode(proto, 2**22).sum() == 2**20


def test_a_list_leaves_no_more_than_a_tail() -> None:
    tail = MAX_TAIL_BYTES // 8
    proto = TensorProto(dtype=types_pb2.DT_DOUBLE, double_val=[1, 2])
    assert decode(shaped(proto, tail + 2), 2**22).sum() == 1 + 2 * (tail + 1)
    proto.tensor_shape.dim[0].size += 1
    with pytest.raises(InvalidInput, match="the last is repeated"):
        decode(proto, 2**22)


# What is refused


def peak_bytes(proto: TensorProto, most_bytes: int = MOST_BYTES) -> int:
    tracemalloc.start()
    try:
        decode(proto, most_bytes)
    except InvalidInput:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def float32(*sizes: int, **values: object) -> TensorProto:
    return shaped(TensorProto(dtype=types_pb2.DT_FLOAT, **values), *sizes)


@pytest.mark.parametrize(
    ("proto", "told"),
    [
        (TensorProto(), "its dtype is number 0"),
        (TensorProto(dtype=types_pb2.DT_VARIANT), "its dtype is number 21"),
        (TensorProto(dtype=99), "its dtype is number 99"),
        (float32(2, 2, tensor_content=b"12345"), "has 5 bytes, and DT_FLOAT [2, 2] takes 16"),
        (float32(-1, tensor_content=b"1234"), "no size may be negative"),
        (float32(-2, -2, tensor_content=b"1234"), "no size may be negative"),
        (float32(HUGE, HUGE, float_val=[1]), "has at most 10,000 bytes"),
        (float32(0, HUGE), "has at most 10,000 bytes"),
        (float32(2501, float_val=[1]), "has at most 10,000 bytes"),
        (float32(*[1] * 33, float_val=[1]), "33 dimensions, and 32 are allowed"),
        (float32(2), "has 0 values in float_val"),
        (float32(2, float_val=[1, 2, 3]), "has 3 values in float_val"),
        (float32(0, float_val=[1]), "has 1 values in float_val"),
        (float32(1, double_val=[1]), "it has double_val"),
        (
            shaped(TensorProto(dtype=types_pb2.DT_UINT8, int_val=[256]), 1),
            "it has 256 in int_val, and DT_UINT8 is from 0 to 255",
        ),
        (
            shaped(TensorProto(dtype=types_pb2.DT_INT8, int_val=[-129, 5]), 2),
            "it has -129 in int_val",
        ),
        (
            shaped(TensorProto(dtype=types_pb2.DT_HALF, half_val=[-1]), 1),
            "it has -1 in half_val",
        ),
        (
            shaped(TensorProto(dtype=types_pb2.DT_COMPLEX64, scomplex_val=[1, 2, 3]), 1),
            "an odd number",
        ),
        (
            shaped(TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\x05abc"), 1),
            "has 3 bytes of strings, and their lengths are 5",
        ),
        (
            shaped(TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\xff" * 12), 1),
            "ends within the lengths",
        ),
        (
            TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape={"unknown_rank": True}),
            "its shape is unknown",
        ),
    ],
)
def test_what_does_not_agree_is_refused(proto, told) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(proto, MOST_BYTES)
    assert told in str(caught.value)


sizes = st.lists(st.integers(-3, 3) | st.sampled_from([HUGE, -HUGE, 2**31, 1000]), max_size=35)
numbers = st.lists(st.integers(-300, 300), max_size=6)
naturals = st.lists(st.integers(0, 300), max_size=6)


@st.composite
def garbage(draw) -> TensorProto:
    proto = TensorProto(dtype=draw(st.sampled_from([*TYPES, 0, 20, 24, 101, 12345])))
    shaped(proto, *draw(sizes))
    proto.version_number = draw(st.integers(0, 2))
    proto.tensor_shape.unknown_rank = draw(st.sampled_from([False, False, True]))
    proto.tensor_content = draw(st.just(b"") | st.binary(max_size=40))
    for field in draw(st.sets(st.sampled_from([known.field for known in TYPES.values()]))):
        values = naturals if field.startswith("uint") else numbers
        if field == "string_val":
            values = st.lists(st.binary(), max_size=4)
        if field == "bool_val":
            values = st.lists(st.booleans(), max_size=4)
        getattr(proto, field).extend(draw(values))
    # Fields that a newer client may know: 100 with bytes, 101 with a number.
    unknown = draw(st.sampled_from([b"", b"\xa2\x06\x03abc", b"\xa8\x06\x05"]))
    proto.MergeFromString(unknown)
    return proto


@given(garbage())
def test_garbage_is_read_or_refused_and_takes_no_memory(proto) -> None:
    try:
        array = decode(proto, MOST_BYTES)
    except InvalidInput:
        pass
    else:
        assert list(array.shape) == [dim.size for dim in proto.tensor_shape.dim]
        assert array.dtype == TYPES[proto.dtype].dtype
    assert peak_bytes(proto) < 200_000


@given(st.binary(max_size=60))
def test_any_bytes_that_are_a_message_are_read_or_refused(data) -> None:
    proto = TensorProto()
    try:
        proto.MergeFromString(data)
    except DecodeError:
        return
    with suppress(InvalidInput):
        decode(proto, MOST_BYTES)
