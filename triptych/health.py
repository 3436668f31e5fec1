"""`triptych health`: is a server, or one model of it, ready? For health checks of containers."""

from typing import Annotated

import typer

from triptych.console import fail

EXAMPLE = "Example: triptych health --server localhost:8500 || echo down"


def command(
    model: Annotated[str, typer.Argument(help="Default: the server as a whole.")] = "",
    server: Annotated[str, typer.Option(metavar="HOST:PORT")] = "localhost:8500",
    timeout: Annotated[float, typer.Option(help="Seconds.", min=0.001)] = 3.0,
) -> None:
    """Ask by the standard gRPC health protocol: ends with 0 if it is serving, else 1."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from triptych.client import channel_options

    with grpc.insecure_channel(server, options=channel_options(server)) as channel:
        request = health_pb2.HealthCheckRequest(service=model)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            fail(f"{server} does not answer: {error.code().name}")  # type: ignore[attr-defined]
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if status != "SERVING":
        fail(f"{server} is {status}")
    typer.echo(status)
