"""Errors of the engine in the reference's codes, of gRPC and of REST, and how texts are cut."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import errors
from serving.errors import TriptychError
from serving.protocols.status import HTTP
from serving.protocols.tensorflow_serving_status import (
    CUT,
    MAX_CHARACTERS,
    Refused,
    Spec,
    cut,
    invalid,
    refusal,
)
from serving.watcher import LabelRefused

Code = grpc.StatusCode
KINDS = {
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TriptychError) and kind is not TriptychError
}


@pytest.mark.parametrize(
    ("error", "code", "http"),
    [
        (errors.InvalidInput("x"), Code.INVALID_ARGUMENT, 400),
        (errors.BadVersion("x"), Code.FAILED_PRECONDITION, 400),
        (errors.ModelNotFound("x"), Code.NOT_FOUND, 404),
        (errors.QueueFull("x"), Code.RESOURCE_EXHAUSTED, 429),
        (errors.InternalError("x"), Code.INTERNAL, 500),
        (Refused(Code.UNKNOWN, "x"), Code.UNKNOWN, 500),
        (Refused(Code.UNIMPLEMENTED, "x"), Code.UNIMPLEMENTED, 501),
        (errors.ModelUnavailable("x"), Code.UNAVAILABLE, 503),
        (LabelRefused("x", "y", 1), Code.UNAVAILABLE, 503),
        (errors.QueueTimeout("x"), Code.DEADLINE_EXCEEDED, 504),
        (Refused(Code.CANCELLED, "x"), Code.CANCELLED, 499),
        (Refused(Code.OUT_OF_RANGE, "x"), Code.OUT_OF_RANGE, 400),
    ],
)
def test_codes_are_the_reference_s(error, code, http) -> None:
    assert refusal(error).code is code
    assert HTTP[code] == http


def test_every_error_has_a_code_in_both() -> None:
    for kind in KINDS:
        assert refusal(kind("x"), Spec("model")).code in HTTP


@pytest.mark.parametrize(
    ("error", "spec", "code", "told"),
    [
        (
            errors.ModelNotFound("x"),
            Spec("m"),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(m); x",
        ),
        (
            errors.ModelNotFound("x"),
            Spec("m", version=7),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(m, 7); x",
        ),
        (
            errors.ModelNotFound("x"),
            Spec("m", label="7"),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(m, 7); x",
        ),
        (
            errors.ModelNotFound("x"),
            Spec("m", label="new"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: new; x",
        ),
        (
            errors.LabelNotFound("x"),
            Spec("m", label=""),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: ; x",
        ),
    ],
)
def test_what_is_not_found_is_told_in_the_reference_s_words(error, spec, code, told) -> None:
    refused = refusal(error, spec)
    assert (refused.code, refused.text) == (code, told)


def test_a_mistake_of_ours_tells_a_number_and_no_more() -> None:
    refused = refusal(ZeroDivisionError("secret"))
    assert refused.code is Code.INTERNAL
    assert "secret" not in refused.text


def test_a_refusal_stays_what_it_is() -> None:
    refused = invalid("x")
    assert refusal(refused, Spec("m")) is refused


@given(st.text(max_size=MAX_CHARACTERS // 4))
def test_short_texts_stay_as_they_are(text) -> None:
    assert cut(text) == text.encode(errors="replace").decode()


@given(st.text(min_size=1).map(lambda text: text * MAX_CHARACTERS))
def test_long_texts_are_cut(text) -> None:
    short = cut(text)
    if len(text.encode(errors="replace")) <= MAX_CHARACTERS:
        assert short == text
    else:
        assert short.endswith(CUT)
        assert MAX_CHARACTERS - 3 <= len(short.encode()) - len(CUT) <= MAX_CHARACTERS
