"""What tests read of an answer's account, in trailing metadata or headers."""

from collections.abc import Iterable


def account_of(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    (account,) = [value for key, value in entries if key == "triptych-account"]
    return dict(item.split("=") for item in account.split(", "))
