"""`Endpoint.check`: what fits passes, and each mistake is named with what was expected."""

import numpy as np
import pytest

from serving.errors import InvalidInput
from serving.runtime.endpoint import STRING, Endpoint, TensorSpec, names, shape_text, type_name

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)


def endpoint(batched=True, **inputs):
    specs = {name: TensorSpec(name, *spec) for name, spec in inputs.items()}
    return Endpoint("predict", specs, {}, batched)


IMAGES = endpoint(image=(FLOAT, (None, 4, 4, 3)), size=(INT, (None,)))


def given(rows=2, **others):
    inputs = {"image": np.zeros((rows, 4, 4, 3), np.float32), "size": np.zeros(rows, np.int64)}
    return inputs | others


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_what_fits_passes(rows):
    IMAGES.check(given(rows))


def test_the_order_of_the_names_is_all_one():
    IMAGES.check(dict(reversed(given().items())))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "endpoint 'predict' takes 'image', 'size', and the request has none"),
        ({"image": given()["image"]}, "takes 'image', 'size', and the request has 'image'"),
        (given(mask=np.zeros(2)), "and the request has 'image', 'mask', 'size'"),
        (
            given(image=np.zeros((2, 4, 4, 3))),
            "input 'image' is float64 [2, 4, 4, 3], and endpoint 'predict' takes "
            "float32 [any, 4, 4, 3]",
        ),
        (
            given(image=np.zeros((2, 4, 5, 3), np.float32)),
            "input 'image' is float32 [2, 4, 5, 3], and endpoint 'predict' takes "
            "float32 [any, 4, 4, 3]",
        ),
        (
            given(image=np.zeros((4, 4, 3), np.float32)),
            "input 'image' is float32 [4, 4, 3], and",
        ),
        (given(size=np.array(2)), "input 'size' is int64 [], and endpoint 'predict' takes int64"),
        (given(size=np.array([b"2", b"3"], object)), "input 'size' is string [2], and"),
        (
            given(size=np.zeros(3, np.int64)),
            "inputs of one request have the same first axis, and these have image: 2, size: 3",
        ),
        (given(0), "the batch is empty: send at least one example"),
    ],
)
def test_each_mistake_is_named(inputs, message):
    with pytest.raises(InvalidInput) as caught:
        IMAGES.check(inputs)
    assert message in str(caught.value)


def test_types_of_the_same_size_are_not_the_same():
    with pytest.raises(InvalidInput, match=r"is uint64 \[2\].*takes int64"):
        IMAGES.check(given(size=np.zeros(2, np.uint64)))


def test_another_byte_order_is_another_type():
    with pytest.raises(InvalidInput):
        IMAGES.check(given(size=np.zeros(2, ">i8")))


def test_without_a_batch_axis_sizes_are_free():
    free = endpoint(False, a=(FLOAT, (None,)), b=(FLOAT, (None, 2)), c=(INT, ()))
    scalar = np.array(3)
    free.check({"a": np.zeros(3, np.float32), "b": np.zeros((5, 2), np.float32), "c": scalar})
    free.check({"a": np.zeros(0, np.float32), "b": np.zeros((0, 2), np.float32), "c": scalar})


@pytest.mark.parametrize("shape", [(), (0,), (1, 2, 3)])
def test_a_shape_that_is_unknown_takes_any(shape):
    endpoint(False, x=(FLOAT, None)).check({"x": np.zeros(shape, np.float32)})
    with pytest.raises(InvalidInput, match="takes float32 of any shape"):
        endpoint(False, x=(FLOAT, None)).check({"x": np.zeros(shape, np.int64)})


TOKENS = Endpoint("predict", {"x": TensorSpec("x", INT, (None, None), below=64)}, {}, True)


def test_codes_of_the_vocabulary_pass():
    TOKENS.check({"x": np.array([[0, 63], [5, 0]])})
    TOKENS.check({"x": np.zeros((2, 0), np.int64)})
    endpoint(x=(INT, (None,))).check({"x": np.array([-1, 2**62])})  # no codes


@pytest.mark.parametrize(
    ("codes", "found"),
    [
        ([[0, 64]], "64 at [0, 1]"),
        ([[1, 2], [-1, 99]], "-1 at [1, 0]"),
        ([[2**62, -(2**62)]], f"{2**62} at [0, 0]"),
    ],
)
def test_the_first_code_out_of_the_vocabulary_is_named(codes, found):
    with pytest.raises(InvalidInput) as caught:
        TOKENS.check({"x": np.array(codes)})
    assert str(caught.value) == (
        f"input 'x' is {found}, and endpoint 'predict' takes codes from 0 to 63: send what the "
        "model's `preprocess` endpoint gives"
    )


def test_a_clients_names_do_not_flood_the_message():
    flood = {f"{i:04}" + "x" * 10_000: np.zeros(1) for i in range(1000)}
    with pytest.raises(InvalidInput) as caught:
        IMAGES.check(flood)
    assert len(str(caught.value)) < 2000
    assert "and 992 more" in str(caught.value)


def test_words():
    assert names({}) == "none"
    assert names({"b": 1, "a": 2}) == "'a', 'b'"
    assert (type_name(STRING), type_name(FLOAT)) == ("string", "float32")
    assert (shape_text(None), shape_text(())) == ("of any shape", "[]")
    assert str(TensorSpec("x", FLOAT, (None, 3))) == "float32 [any, 3]"
