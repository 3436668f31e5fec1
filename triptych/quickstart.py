"""`triptych quickstart`: the whole way at once, on the models and samples that are shipped."""

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, NoReturn

import typer

from triptych.console import fail, hint

EXAMPLE = "Example: triptych quickstart --once"
START_SECONDS = 120.0
END_SECONDS = 40.0
ENDINGS = (signal.SIGTERM, signal.SIGHUP)  # the second: its terminal was closed


def command(
    repository: Annotated[Path, typer.Option(help="Models to serve.")] = Path("model_repository"),
    samples: Annotated[Path, typer.Option(help="Files to classify.")] = Path("samples"),
    once: Annotated[bool, typer.Option("--once", help="End after the table.")] = False,
) -> None:
    """Start a server, classify the samples through gRPC, and keep serving until Ctrl-C."""
    for folder in (repository, samples):
        if not folder.is_dir():
            fail(
                f"there is no folder {folder}: run it in the clone, or give --repository, --samples"
            )
    grpc_port, http_port = _free(8500), _free(8501)
    with _server(repository, grpc_port, http_port) as (child, log):
        failed = _classify(samples, f"localhost:{grpc_port}")
        if once:
            raise typer.Exit(1 if failed else 0)
        try:
            hint(
                f"still serving; try: triptych classify FILE... --server localhost:{grpc_port}"
                "   (Ctrl-C ends it)"
            )
            child.wait()
        except KeyboardInterrupt:
            typer.echo()
        else:
            _fail(log, "the server has ended by itself")


def _classify(samples: Path, address: str) -> bool:
    import asyncio

    from triptych.classify import show
    from triptych.client import Answer, Options, ServerAbsent, classify, sources

    async def collect() -> list[Answer]:
        return [
            answer async for answer in classify(address, sources([samples], []), Options(top_k=3))
        ]

    try:
        answers = asyncio.run(collect())
    except ServerAbsent as error:
        fail(error, 3)
    show(answers)
    return not answers or any(answer.error for answer in answers)


def _free(port: int) -> int:
    """The port, or another one if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return port
        except OSError:
            pass
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    hint(f"port {port} is taken: using {free}")
    return free


@contextmanager
def _server(
    repository: Path, grpc_port: int, http_port: int
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    command = [sys.executable, "-m", "triptych", "serve", "--repository", str(repository)]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    previous = {number: signal.signal(number, _end) for number in ENDINGS}
    # A shell starts background jobs with Ctrl-C ignored; this one is to end by it all the same.
    previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C reaches this process, which ends the server in good order.
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(child, grpc_port, log)
            yield child, log
        finally:
            try:
                child.terminate()
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            except BaseException:  # a second Ctrl-C has no patience: still, leave no orphan
                child.kill()
                child.wait()
                raise
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _wait(child: subprocess.Popen[bytes], port: int, log: BinaryIO) -> None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from rich.console import Console

    from triptych.client import channel_options

    console = Console(stderr=True)
    address = f"localhost:{port}"
    deadline = time.monotonic() + START_SECONDS
    with (
        console.status("Starting the server and loading the models"),
        grpc.insecure_channel(address, options=channel_options(address)) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        while child.poll() is None and time.monotonic() < deadline:
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                pass
            time.sleep(0.1)
    _fail(log, "the server did not start")


def _fail(log: BinaryIO, problem: str) -> NoReturn:
    log.seek(0)
    typer.echo(log.read().decode(errors="replace"), err=True)
    fail(f"{problem}; above is what it said")
