"""The pages' examples do what they say: each runs against a server of the shipped models."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.model_config import read_config

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/serving.md").read_text()
PATIENCE_SECONDS = 120

PROGRAM = """
import uvloop
from serving.lean import leave_out_training
leave_out_training()
from serving.server import serve
from serving.settings import Settings
uvloop.run(serve(Settings(), lambda ready: print(ready.grpc_port, ready.http_port, flush=True)))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    own = {"REPOSITORY": ROOT / "model_repository", "GRPC_PORT": 0, "HTTP_PORT": 0}
    own |= {"MEASURE_SECONDS": 0.1, "EXPLAIN_NICE": 0, "PREPARE_NICE": 0}
    own |= {"CACHE": tmp_path_factory.mktemp("cache")}
    environment = os.environ | {f"TRIPTYCH_{name}": str(value) for name, value in own.items()}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            grpc_port, http_port = server.stdout.readline().split()
            yield grpc_port, http_port
        finally:
            server.terminate()


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_client(code: str, ports: tuple[str, str], tmp_path: Path) -> None:
    code = code.replace("localhost:8500", f"localhost:{ports[0]}")
    code = code.replace('"frog.png"', repr(str(tmp_path / "frog.png")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert "frog" in done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (line, answer)
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("curl") and "-o " not in line
        for name, answer in [("cifar10", "frog"), ("digits", "7"), ("questions", "human")]
        if name in line
    ],
)
def test_curl(command: str, answer: str, ports: tuple[str, str]) -> None:
    command = command.replace("localhost:8501", f"localhost:{ports[1]}")
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert f'"label":"{answer}"' in done.stdout.replace(" ", ""), done.stderr


def test_the_model_toml_is_a_valid_one(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    (tmp_path / "model.toml").write_text(block)
    config = read_config(tmp_path)
    assert config.labels == {"stable": 1, "canary": 2}
    assert config.batching.allowed_batch_sizes == (1, 4, 16)
