"""What is said of a server once it is ready; apart, as the supervisor says it without serving."""

from typing import NamedTuple


class Ready(NamedTuple):
    grpc_port: int
    http_port: int
    models: list[tuple[str, int]]  # name and newest version that is ready
