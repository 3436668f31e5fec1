"""Methods are found by name, so that no call waits for a future of each that is registered."""

import grpc
import pytest

from serving.protocols.unregistered import Unregistered

SERVICE = "tests.Echo"


@pytest.fixture
async def echo():
    """Of a server that three others want to answer "Say" for."""
    server = grpc.aio.server()
    methods = Unregistered(server)

    def saying(answer):
        async def say(request, context):
            return answer

        return {"Say": grpc.unary_unary_rpc_method_handler(say)}

    for answer in (b"first", b"second"):
        handler = grpc.method_handlers_generic_handler(SERVICE, saying(answer))
        methods.add_generic_rpc_handlers((handler,))
    methods.add_registered_method_handlers(SERVICE, saying(b"registered"))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary(f"/{SERVICE}/Say")
    await server.stop(None)


async def test_the_earlier_of_two_is_asked_and_none_that_is_registered(echo):
    assert await echo(b"") == b"first"
