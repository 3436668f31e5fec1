"""Every domain error has a status, and what goes with it fits into one."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import errors
from serving.errors import TriptychError
from serving.protocols.open_inference_call import Unsupported
from serving.protocols.open_inference_call import code_of as open_inference_code_of
from serving.protocols.status import (
    HTTP,
    STATUS,
    details,
    http_status_of,
    number_of,
    status_of,
)

CLIENT_HEADER_BYTES = 8192  # grpc's default limit, beyond which a client sees another error


def test_every_error_has_a_row() -> None:
    declared = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, TriptychError) and kind is not TriptychError
    }
    assert set(STATUS) == declared
    assert {http_status_of(kind("x")) for kind in declared} == {400, 404, 429, 500, 503, 504}
    assert {open_inference_code_of(kind("x")) for kind in {*declared, Unsupported}} <= set(HTTP)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.InvalidInput("x"), 3),
        (errors.ModelNotFound("x"), 5),
        (errors.QueueFull("x"), 8),
        (errors.InternalError("x"), 13),
        (errors.ModelUnavailable("x"), 14),
    ],
)
def test_numbers_are_those_of_google_rpc_code(error, number) -> None:
    assert number_of(error) == number
    assert isinstance(status_of(error), grpc.StatusCode)


def test_an_error_of_a_kind_has_the_status_of_its_kind() -> None:
    class SpecialNotFound(errors.ModelNotFound):
        """As the watcher's LabelRefused is a ModelUnavailable."""

    assert status_of(SpecialNotFound("x")) is grpc.StatusCode.NOT_FOUND
    assert http_status_of(SpecialNotFound("x")) == 404


@given(st.text())
def test_short_details_stay_as_they_are(text) -> None:
    assert details(text) == text


@given(st.text(st.characters(categories=["L", "S"]), min_size=1), st.integers(1, 3000))
def test_long_details_are_cut_to_fit(text, times) -> None:
    cut = details(text * times)
    percent_encoded = 3 * len(cut.encode())
    assert percent_encoded < CLIENT_HEADER_BYTES
    assert (text * times).startswith(cut.removesuffix("..."))


def test_paths_that_are_no_unicode_can_be_told() -> None:
    assert details("cannot read caf\udce9") == "cannot read caf?"
