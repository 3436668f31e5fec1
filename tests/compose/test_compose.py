"""docker compose for real: build, serve, call through the published port, kill, come back."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.compose
ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0


def compose_command() -> list[str]:
    """`docker compose` where the plug-in is there, else docker-compose."""
    plug_in = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plug_in.returncode == 0:
        return ["docker", "compose"]
    assert shutil.which("docker-compose"), "neither `docker compose` nor docker-compose is there"
    return ["docker-compose"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Compose:
    def __init__(self) -> None:
        self.grpc_port, self.http_port = free_port(), free_port()
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": "triptych-test",
            "TRIPTYCH_GRPC_PORT": str(self.grpc_port),
            "TRIPTYCH_HTTP_PORT": str(self.http_port),
        }
        self.command = compose_command()

    def __call__(self, *arguments: str) -> str:
        result = subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def container(self) -> str:
        return self("ps", "-q", "server").strip()

    def inspect(self, form: str) -> str:
        command = ["docker", "inspect", "--format", form, self.container()]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def wait_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.inspect("{{.State.Health.Status}}") != "healthy":
            assert time.monotonic() < deadline, self("logs", "server")
            time.sleep(0.5)

    def classify(self) -> list[dict]:
        command = [sys.executable, "-m", "triptych", "classify", "samples", "--json"]
        command += ["--server", f"localhost:{self.grpc_port}"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    compose = Compose()
    compose("build")
    compose("up", "-d", "server")
    try:
        compose.wait_healthy()
        yield compose
    finally:
        compose("down", "--volumes")


def test_the_samples_through_the_published_port(compose: Compose) -> None:
    answers = compose.classify()
    assert len(answers) == 6
    assert all(answer["error"] is None for answer in answers)
    assert {answer["model"] for answer in answers} == {"cifar10", "digits", "questions"}


def test_the_client_service(compose: Compose) -> None:
    said = compose("run", "--rm", "-T", "client")
    assert all(name in said for name in ("frog.jpg", "seven.wav", "galileo.txt"))


def test_it_is_neither_root_nor_writable(compose: Compose) -> None:
    assert compose("exec", "-T", "server", "id", "-u").strip() != "0"
    assert compose.inspect("{{.HostConfig.ReadonlyRootfs}}") == "true"
    assert compose.inspect("{{.HostConfig.CapDrop}}") == "[ALL]"


def test_what_was_compiled_is_kept(compose: Compose) -> None:
    assert compose("exec", "-T", "server", "ls", "/cache").split()


def test_nothing_that_trains_is_in_the_image(compose: Compose) -> None:
    code = "import importlib.util as u; print([m for m in {} if u.find_spec(m)])"
    modules = ["librosa", "matplotlib", "pytest", "nvidia", "ray"]
    said = compose("exec", "-T", "server", "python", "-c", code.format(modules))
    assert said.strip() == "[]"


def test_a_killed_server_comes_back(compose: Compose) -> None:
    before = compose.inspect("{{.State.StartedAt}}")
    # From inside, as a crash would: `docker kill` counts as a wish to stop it. Process 1 is init,
    # which ends with the server.
    code = (
        "import os;"
        "[os.kill(int(p), 9) for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()"
        " and b'serve' in open(f'/proc/{p}/cmdline','rb').read().split(b'\\0') and int(p) != 1]"
    )
    subprocess.run(
        ["docker", "exec", compose.container(), "python", "-c", code],
        capture_output=True,
        check=False,
    )
    deadline = time.monotonic() + START_SECONDS
    while compose.inspect("{{.State.StartedAt}}") == before:
        assert time.monotonic() < deadline, "it was not started again"
        time.sleep(0.5)
    compose.wait_healthy()
    assert len(compose.classify()) == 6


def test_an_orderly_end(compose: Compose) -> None:
    container = compose.container()
    compose("stop", "server")
    command = ["docker", "inspect", "--format", "{{.State.ExitCode}}", container]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert code == "0"
