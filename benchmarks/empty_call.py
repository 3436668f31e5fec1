"""What gRPC itself costs: a server that takes so many bytes and answers so many, and does nothing.

    python -m benchmarks.empty_call PORT ANSWER_BYTES

It is the least that any server in Python with grpc.aio can take, and its client with it.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import grpc

METHOD = "/benchmarks.Empty/Call"


async def serve(port: int, answer: Callable[[bytes], bytes]) -> None:
    async def call(request: bytes, context: Any) -> bytes:
        return answer(request)

    service, _, method = METHOD.removeprefix("/").partition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(call)}
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    port, answer_bytes = map(int, sys.argv[1:3])
    nothing = bytes(answer_bytes)
    asyncio.run(serve(port, lambda request: nothing))
