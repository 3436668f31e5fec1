"""NVIDIA's perf_analyzer, as it comes, against a whole server: `pytest -m perf_analyzer`.

It is of the package perf-analyzer, whose wheel wants glibc 2.38. Where pip refuses it for that
(`pip download --platform manylinux_2_38_x86_64 --only-binary :all: perf-analyzer` does not),
unpack it, and a libc6, libstdc++6 and libgcc-s1 of Debian 13, and name both:

    TRIPTYCH_TEST_PERF_ANALYZER  its executable; by default that of the installed package
    TRIPTYCH_TEST_LIBC           the folder of ld-linux-x86-64.so.2, libc.so.6 and libstdc++.so.6
"""

import asyncio
import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest
import pytest_asyncio

from tests.serving.protocols.open_inference_fixtures import Oip, oip_running

pytestmark = [pytest.mark.perf_analyzer, pytest.mark.asyncio(loop_scope="module")]

LOADER = "ld-linux-x86-64.so.2"
REQUESTS = 200
# One window of so many requests, whatever it says of the machine.
BRIEFLY = ["--request-count", str(REQUESTS), "--stability-percentage", "999"]


@pytest.fixture(scope="module")
def command() -> list[str]:
    """How it is started here; skips if it cannot be."""
    executable = os.environ.get("TRIPTYCH_TEST_PERF_ANALYZER")
    if executable is None:
        package = importlib.util.find_spec("perf_analyzer")
        if package is None or package.origin is None:
            pytest.skip("no perf_analyzer: install perf-analyzer, or set the variables above")
        executable = str(Path(package.origin).parent / "bin" / "perf_analyzer")
    started = [executable]
    if libc := os.environ.get("TRIPTYCH_TEST_LIBC"):
        started = [str(Path(libc, LOADER)), "--library-path", libc, executable]
    tried = subprocess.run([*started, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = tried.stderr.partition("\n")[0]
        pytest.skip(f"perf_analyzer does not start ({reason}): set the variables above")
    return started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def oip(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    for domain in ("image", "text"):
        tiny.publish(root, domain)
    async with oip_running(root) as oip:
        yield oip


async def run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def inferences(oip: Oip, model: str) -> int:
    statistics = await oip.client.get_inference_statistics(model)
    return sum(version.inference_count for version in statistics.model_stats)


@pytest.mark.parametrize(
    "options",
    [
        ["-m", "image"],
        ["-m", "image", "--async", "-b", "4"],
        ["-m", "image", "--async", "--streaming"],
        ["-m", "image", "-x", "1", "-i", "http"],
        ["-m", "text", "--shape", "examples:8", "--input-data", "zero"],
    ],
    ids=" ".join,
)
async def test_it_measures_this_server(command, oip: Oip, options) -> None:
    port = oip.http_port if "http" in options else oip.grpc_port
    kind = [] if "http" in options else ["-i", "grpc"]
    before = await inferences(oip, options[1])
    code, output = await run(
        *command, *kind, "-u", f"localhost:{port}", "--concurrency-range", "4", *BRIEFLY, *options
    )
    assert code == 0, output
    numbers = {
        name: float(re.search(rf"{name}: ([\d.]+)", output)[1])
        for name in ("Request count", "Throughput", "Inference count", "Execution count")
    }
    assert numbers["Request count"] >= REQUESTS
    assert numbers["Throughput"] > 0
    # The server's own statistics, of at least what the client has counted. Of these perf_analyzer
    # shows what came after its first look, when some of its requests are answered.
    size = 4 if "-b" in options else 1
    assert await inferences(oip, options[1]) - before >= numbers["Request count"] * size
    assert 0 < numbers["Inference count"] <= await inferences(oip, options[1]) - before
    assert 0 < numbers["Execution count"] <= numbers["Inference count"]


async def test_it_tells_what_the_server_says_of_a_model_that_there_is_not(
    command, oip: Oip
) -> None:
    code, output = await run(*command, "-i", "grpc", "-u", oip.target, "-m", "imgae", *BRIEFLY)
    assert code != 0
    assert "Request for unknown model: 'imgae' is not found" in output
