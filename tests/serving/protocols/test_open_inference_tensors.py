"""The tensor codec: round trips, Triton's refusals, and that garbage is refused or read."""

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from serving.errors import InvalidInput
from serving.protocols.open_inference_tensors import (
    CONTENTS,
    DTYPES,
    FEW_VALUES,
    Data,
    datatype_of,
    places,
    raw,
    typed,
)
from serving.protocols.open_inference_tensors import Given as Described
from serving.runtime.endpoint import STRING, Endpoint, TensorSpec

NUMERIC = [datatype for datatype in DTYPES if datatype not in ("BYTES", "BF16")]
TYPED = [datatype for datatype in CONTENTS if datatype != "BYTES"]


def endpoint(dtype: object, *shape: int | None, batched: bool = True, rank: bool = True):
    spec = TensorSpec("x", np.dtype(dtype), shape if rank else None)
    return Endpoint("predict", {"x": spec}, {}, batched)


class Given(NamedTuple):
    name: str
    datatype: str
    shape: Sequence[int]
    data: Data


def decode(to: Endpoint, *inputs: Given, max_rows: int = 1000) -> dict[str, np.ndarray]:
    described = [Described(*given[:3]) for given in inputs]
    found = places(to, described, model="m", max_rows=max_rows, refuse_nan=True)
    pairs = zip(inputs, found, strict=True)
    return {given.name: place.read(given.data) for given, place in pairs}


def as_given(value: np.ndarray, data: object = None) -> Given:
    return Given("x", datatype_of(value.dtype), value.shape, raw(value) if data is None else data)


def contents_of(datatype: str, values: np.ndarray) -> service_pb2.InferTensorContents:
    return service_pb2.InferTensorContents(**{CONTENTS[datatype]: values.ravel().tolist()})


def refused(to: Endpoint, *inputs: Given, **options: int) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode(to, *inputs, **options)
    return str(caught.value)


def arrays(datatype: str) -> st.SearchStrategy[np.ndarray]:
    dtype = np.dtype(DTYPES[datatype])
    numbers = {"allow_nan": False} if dtype.kind == "f" else {}
    shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)
    return hnp.arrays(dtype, shapes, elements=hnp.from_dtype(dtype, **numbers))


@pytest.mark.parametrize("rows", [1, FEW_VALUES + 1])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_not_a_number_is_found_by_any_of_its_bits(dtype, sign, rows) -> None:
    whole = {2: np.uint16, 4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    to, infinite = endpoint(dtype, None, None), np.array([sign * np.inf], dtype).view(whole)[0]
    for bits in (infinite - 1, infinite, infinite + 1, infinite | (whole(1) << 5)):
        value = np.zeros((rows, 3), dtype)
        value[-1, 1] = np.array([bits], whole).view(dtype)[0]
        if np.isnan(value).any():
            assert "no number (NaN)" in refused(to, as_given(value), max_rows=rows)
        else:
            np.testing.assert_array_equal(decode(to, as_given(value), max_rows=rows)["x"], value)


@given(st.data())
def test_raw_tensors_come_back_as_they_were(data: st.DataObject) -> None:
    value = data.draw(arrays(data.draw(st.sampled_from(NUMERIC))))
    to = endpoint(value.dtype, None, *value.shape[1:])
    for bytes_ in (raw(value), memoryview(raw(value))):
        found = decode(to, as_given(value, bytes_))["x"]
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)


@given(st.data())
def test_typed_contents_are_what_raw_ones_are(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(TYPED))
    value = data.draw(arrays(datatype))
    message = contents_of(datatype, value)
    found = decode(
        endpoint(value.dtype, None, *value.shape[1:]),
        as_given(value, typed("x", datatype, message, "m")),
    )["x"]
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=9))
def test_strings_are_those_of_tritonclient(strings: list[bytes]) -> None:
    value = np.array([*strings, None], object)[:-1]  # so that NumPy makes no S10 of them
    theirs = serialize_byte_tensor(value).item()
    assert raw(value) == theirs
    assert list(deserialize_bytes_tensor(raw(value))) == strings
    to = endpoint(object, None)
    message = service_pb2.InferTensorContents(bytes_contents=strings)
    for data in (theirs, memoryview(theirs), typed("x", "BYTES", message, "m")):
        found = decode(to, as_given(value, data))["x"]
        assert found.dtype == STRING
        assert found.tolist() == strings


def test_rows_that_are_all_the_same_are_written_as_any_other() -> None:
    labels = np.broadcast_to(np.array([b"red", b"blue"], object), (3, 2))
    assert raw(labels) == raw(np.array(labels.tolist(), object))


SHAPES = st.lists(st.one_of(st.integers(-2, 4), st.integers(-(2**63), 2**63 - 1)), max_size=5).map(
    tuple
)


@given(
    given_=st.builds(
        Given,
        st.sampled_from(["x", ""]),
        st.sampled_from([*DTYPES, "", "FP8"]),
        SHAPES,
        st.binary(max_size=64),
    ),
    dtype=st.sampled_from([*NUMERIC, "BYTES"]),
    shape=st.lists(st.one_of(st.none(), st.integers(1, 4)), max_size=4),
    batched=st.booleans(),
    rank=st.booleans(),
)
def test_garbage_is_refused_or_fits(
    given_: Given, dtype: str, shape: list[int | None], batched: bool, rank: bool
) -> None:
    if batched:
        shape, rank = [None, *shape], True  # as the runtime says of every batched endpoint
    to = endpoint(DTYPES[dtype], *shape, batched=batched, rank=rank)
    try:
        found = decode(to, given_._replace(name="x"))["x"]
    except InvalidInput:
        return
    assert to.inputs["x"].fits(found)
    assert found.shape == given_.shape


@given(
    st.sampled_from([*DTYPES, "FP8", ""]),
    st.dictionaries(
        st.sampled_from(["int_contents", "int64_contents", "fp32_contents", "uint_contents"]),
        st.lists(st.integers(0, 2**31 - 1), max_size=3),
    ),
)
def test_contents_of_another_type_are_refused(datatype: str, fields: dict[str, list[int]]) -> None:
    message = service_pb2.InferTensorContents(**fields)
    try:
        found = typed("x", datatype, message, "m")
    except InvalidInput:
        return
    assert sum(map(len, fields.values())) == len(found)


FP32 = endpoint("f4", None, 3)
ONE = struct.pack("<3f", 1, 2, 3)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "told"),
    [
        ("FP64", (1, 3), ONE, "inference input 'x' data-type is 'FP64', but model 'm' expects"),
        ("FP8", (1, 3), ONE, "data-type is '<invalid>', but model 'm' expects 'FP32'"),
        ("FP32", (), ONE, "input 'x' has no shape but model requires batch dimension for 'm'"),
        ("FP32", (1, 4), ONE, "unexpected shape for input 'x' for model 'm'. Expected [-1,3], got"),
        ("FP32", (1, 4), ONE, "got [1,4]. NOTE: Setting a non-zero max_batch_size in the model"),
        ("FP32", (3,), ONE, "Expected [-1,3], got [3]."),
        ("FP32", (1, -1), ONE, "All input dimensions should be specified for input 'x' for model"),
        ("FP32", (-1, 3), ONE, "tensor 'x' contains an invalid dimension in shape [-1,3]"),
        ("FP32", (0, 3), b"", "input 'x' for model 'm' is empty, as its shape is [0,3]"),
        ("FP32", (11, 3), ONE, "inference request batch-size must be <= 10 for 'm'"),
        ("FP32", (2, 3), ONE, "input byte size mismatch for input 'x' for model 'm'. Expected 24,"),
        ("FP32", (1, 3), ONE[:-1], "Expected 12, got 11"),
        ("FP32", (1, 3), ONE + b"!", "Expected 12, got 13"),
        ("FP32", (1, 3), struct.pack("<3f", 1, math.nan, 3), "no number (NaN)"),
        ("FP32", (1, 3), b"\xff" * 12, "no number (NaN)"),
        ("FP32", (1, 3), b"\x01\x00\x80\x7f" * 3, "no number (NaN)"),  # that signals
    ],
)
def test_refusals_are_tritons(
    datatype: str, shape: tuple[int, ...], data: bytes, told: str
) -> None:
    assert told in refused(FP32, Given("x", datatype, shape, data), max_rows=10)


def test_a_shape_that_overflows_is_refused_before_anything_is_allocated() -> None:
    for shape in [(2**62, 3), (2**31, 2**31, 3), (1, 2**63 - 1)]:
        to = endpoint("f4", None, *[None] * (len(shape) - 1))
        message = refused(to, Given("x", "FP32", shape, b"\0" * 12), max_rows=2**63)
        assert "exceeds maximum size of 9223372036854775807" in message
    wide = endpoint(object, None, None)
    message = refused(wide, Given("x", "BYTES", (1, 2**55), b"\0" * 12), max_rows=1)
    assert message.startswith(f"expected {2**55} string elements for inference input 'x'")
    assert message.endswith("got 3")
    deep = endpoint("f4", batched=False, rank=False)
    message = refused(deep, Given("x", "FP32", (1,) * 65, b"\0" * 4))
    assert message.startswith("unexpected shape for input 'x'")
    assert len(message) < 300


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\1\0", "incomplete string length indicator for inference input 'x' for model 'm', exp"),
        (b"\1\0", "expecting 4 bytes but only 2 bytes available. Please make sure the string"),
        (b"\5\0\0\0ab", "expecting string of length 5 but only 2 bytes available"),
        (b"\xff\xff\xff\xff", "expecting string of length 4294967295 but only 0 bytes available"),
        (b"\1\0\0\0a" * 3, "unexpected number of string elements 3 for inference input 'x' for mo"),
        (b"\1\0\0\0a", "expected 2 string elements for inference input 'x' for model 'm', got 1"),
        (b"", "expected 2 string elements for inference input 'x' for model 'm', got 0"),
    ],
)
def test_strings_are_refused_in_tritons_words(data: bytes, told: str) -> None:
    assert told in refused(endpoint(object, None), Given("x", "BYTES", (2,), data))


def test_inputs_of_unlike_batches_are_refused() -> None:
    specs = {name: TensorSpec(name, np.dtype("f4"), (None,)) for name in "xy"}
    inputs = [Given("x", "FP32", (1,), b"\0" * 4), Given("y", "FP32", (2,), b"\0" * 8)]
    message = refused(Endpoint("predict", specs, {}, True), *inputs)
    assert message == "input 'y' batch size does not match other inputs for 'm'"


def test_not_every_number_that_is_sent_fits_its_type() -> None:
    for datatype, values in {"INT8": [1, 128], "UINT16": [65536], "INT16": [-32769]}.items():
        message = contents_of(datatype, np.array(values))
        with pytest.raises(InvalidInput, match=f"has a value that is no {datatype}"):
            typed("x", datatype, message, "m")


def test_a_type_is_told_from_that_of_the_contents() -> None:
    message = service_pb2.InferTensorContents(int_contents=[1])
    with pytest.raises(InvalidInput, match="of type 'INT32', expected datatype 'FP32'"):
        typed("x", "FP32", message, "m")
    with pytest.raises(InvalidInput, match="of type 'INT32', expected datatype 'FP16'"):
        typed("x", "FP16", message, "m")


def test_raw_bytes_are_viewed_and_not_copied() -> None:
    data = bytes(range(12))
    found = decode(FP32, Given("x", "FP32", (1, 3), data))["x"]
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))


def test_any_byte_but_0_is_true() -> None:
    found = decode(endpoint(bool, None), Given("x", "BOOL", (3,), b"\0\1\7"))["x"]
    assert found.tolist() == [False, True, True]
    assert found.view(np.uint8).tolist() == [0, 1, 1]
