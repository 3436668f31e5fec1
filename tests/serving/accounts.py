"""What tests read of an answer's account, in trailing metadata, headers or parameters."""

from collections.abc import Iterable
from typing import Any


def account_of(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    (account,) = [value for key, value in entries if key == "triptych-account"]
    return dict(item.split("=") for item in account.split(", "))


def account_in(response: Any) -> dict[str, str]:
    """Of a ModelInferResponse."""
    told = response.parameters.items()
    return account_of((name, parameter.string_param) for name, parameter in told)
