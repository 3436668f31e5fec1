"""gRPC's methods found by their names, when a call comes, and not registered before."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc


class Unregistered:
    """A server as what protoc has generated takes it.

    For each method that is registered grpc.aio waits with a future of its own, and goes through all
    of them at every call (grpc/grpc pull request 43461, seen with 1.85). Of this server's 50 that
    is some 4 % of what a small network answers (docs/performance.md).
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Of two that have a method, the earlier is asked."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """They are generic handlers too."""
