"""`triptych serve`: a repository's models over gRPC and HTTP."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triptych.console import fail

if TYPE_CHECKING:
    from serving.ready import Ready

EXAMPLE = "Example: triptych serve --repository model_repository --grpc-port 8500"


def command(
    repository: Annotated[
        Path | None, typer.Option(help="Folder NAME/VERSION/, as `export` writes it.")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Default 8500; 0: any free.")] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Default 8501: REST, curl, /metrics.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Default 127.0.0.1; 0.0.0.0 listens on all addresses.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="auto (default: the faster), openvino or tensorflow.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Default 1; processes that share the ports.")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Folder for compiled models; default the user's; none keeps nothing."),
    ] = None,
) -> None:
    """Serve every model of a repository, the newest version of each, until SIGTERM or Ctrl-C.

    New versions are picked up while it runs. Limits, batching and the rest
    are set by TRIPTYCH_* variables (serving/settings.py lists them).
    """
    import asyncio

    import uvloop
    from pydantic import ValidationError

    from serving.errors import TriptychError
    from serving.settings import Settings, explain

    given: dict[str, Any] = {
        "repository": repository,
        "grpc_port": grpc_port,
        "http_port": http_port,
        "host": host,
        "executor": executor,
        "workers": workers,
        "cache": cache,
    }
    try:
        settings = Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        fail(explain(error), 2)
    from serving.lean import leave_out_training

    leave_out_training()
    from serving.server import serve
    from serving.supervisor import supervise

    def on_ready(ready: "Ready") -> None:
        typer.echo(
            f"serving {settings.repository} on {settings.host}:{ready.grpc_port} (gRPC) and"
            f" http://{settings.host}:{ready.http_port}, {settings.threads} threads compute"
        )
        for name, version in ready.models:
            typer.echo(f"  {name}, version {version}")
        typer.echo(f"call it: triptych classify FILE... --server localhost:{ready.grpc_port}")

    try:
        if settings.workers == 1:
            uvloop.run(serve(settings, on_ready))
        else:
            asyncio.run(supervise(settings, on_ready))
    except (TriptychError, OSError) as error:
        fail(error)
