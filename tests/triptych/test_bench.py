"""`triptych bench` against a real server, by each of the three protocols."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from click.testing import Result
from typer.testing import CliRunner

from serving.server import Server
from serving.settings import Settings
from tests.serving.conftest import Tiny
from tests.serving.server_fixtures import DEFAULTS, DOMAINS
from triptych.loadgen.measure import Terms, measure
from triptych.loadgen.plan import Plan, Wanted
from triptych.main import app

TERMS = Terms((1, 3), seconds=0.1, warm_up_seconds=0.05)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    root = tmp_path_factory.mktemp("repository")
    tiny = Tiny(tmp_path_factory.mktemp("exported"))
    for domain in DOMAINS:
        tiny.publish(root, domain)
    server = Server(Settings(repository=root, **DEFAULTS))
    ready = await server.start()
    yield f"localhost:{ready.grpc_port}"
    await server.stop()


async def bench(address: str, *arguments: str) -> Result:
    """In a thread, as the server runs in this loop."""
    words = ["bench", "--server", address, "--seconds", "0.1", *arguments]
    return await asyncio.to_thread(CliRunner(env={"COLUMNS": "80"}).invoke, app, words)


async def loads(address: str, protocol: str, wanted: Wanted, terms: Terms = TERMS) -> list:
    return [load async for _, load in measure(address, protocol, wanted, terms)]


@pytest.mark.parametrize(
    ("model", "protocol", "stream"),
    [
        *((model, name, False) for model in DOMAINS for name in ("triptych", "oip", "tfserving")),
        ("image", "triptych", True),
        ("text", "oip", True),
    ],
)
async def test_each_protocol(address, model: str, protocol: str, stream: bool) -> None:
    wanted, terms = Wanted(model, batch=2), TERMS._replace(stream=stream)
    alone, three = await loads(address, protocol, wanted, terms)
    for load in (alone, three):
        assert not load.errors, load.first_error
        assert load.inputs == 2 * load.requests > 0
        assert 0 < load.p50_ms <= load.p90_ms <= load.p99_ms <= load.max_ms
    assert (alone.concurrency, three.concurrency) == (1, 3)
    # Closed loop: of one, as many a second as fit one after another.
    assert alone.requests_per_second <= 1.5 * 1000 / alone.p50_ms
    assert alone.client_cores > 0
    if not (protocol == "oip" and stream):  # which has no place for it
        assert alone.account["batch-size"] >= 1
        assert alone.account["compute-us"] > 0


@pytest.mark.parametrize("protocol", ["triptych", "oip", "tfserving"])
async def test_files_and_texts(address, protocol: str) -> None:
    picture = Tiny.item(None, "image")
    for model, item in (("image", picture), ("text", "a sentence")):
        alone, _ = await loads(address, protocol, Wanted(model, [item]))
        assert not alone.errors, alone.first_error
        assert alone.account["decode-us"] > 0


async def test_what_is_refused_is_counted_and_told(address) -> None:
    alone, _ = await loads(address, "triptych", Wanted("audio", [Tiny.item(None, "image")]))
    assert alone.requests == 0
    assert alone.p50_ms is None
    assert alone.errors.keys() == {"INVALID_ARGUMENT"}
    assert "not a sound" in alone.first_error


async def test_a_wrong_answer_is_an_error(address) -> None:
    """Some results of many may be errors, though the call is OK."""
    good, bad = Tiny.item(None, "image"), b"no picture"
    wanted = Wanted("image", [good, bad], batch=2)
    for stream in (False, True):
        alone, _ = await loads(address, "triptych", wanted, TERMS._replace(stream=stream))
        assert "wrong answer" in alone.errors
        assert "not a picture" in alone.first_error


async def test_table(address) -> None:
    result = await bench(address, "image", "--protocol", "oip", "--concurrency", "1,2")
    assert result.exit_code == 0, result.output
    first, head, alone, two, *rest = result.stdout.splitlines()
    assert "FP32 examples 1x8x8x3" in first
    assert head.split()[:3] == ["in", "flight", "requests/s"]
    assert (alone.split()[0], two.split()[0]) == ("1", "2")
    assert any("compute" in line for line in rest)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "2 in flight" in result.stderr


async def test_json(address) -> None:
    result = await bench(address, "text", "--text", "hello", "--concurrency", "2", "--json")
    (line,) = result.stdout.splitlines()
    answer = json.loads(line)
    assert answer["model"] == "text"
    assert answer["requests_per_second"] == pytest.approx(answer["requests"] / answer["seconds"])
    assert np.isfinite(list(answer["account"].values())).all()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nope"], 1, "no model is named 'nope'"),
        (["nope", "--protocol", "oip"], 1, "no model is named 'nope'"),
        (["nope", "--protocol", "tfserving"], 1, "no model is named 'nope'"),
        (["image", "--concurrency", "1,x"], 2, "write it as 1,8,32"),
        (["image", "--concurrency", "0"], 2, "each from 1"),
        (["image", "--input", "nowhere.jpg"], 2, "cannot be read"),
        (["image", "--server", "localhost:1"], 3, "no server at"),
        (["image", "--protocol", "tfserving", "--stream"], 2, "no stream"),
    ],
)
async def test_mistakes_are_one_line(address, arguments, code: int, words: str) -> None:
    result = await bench(address, *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_when_nothing_is_answered_it_fails(address, tmp_path) -> None:
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    result = await bench(address, "image", "--input", str(tmp_path / "no.jpg"))
    assert result.exit_code == 1
    assert "not one request was answered: input 0: not a picture" in result.stderr


async def test_no_tensorflow() -> None:
    """Which would take seconds, and a part of the machine that is measured."""
    code = "import triptych.loadgen.measure, sys; assert 'tensorflow' not in sys.modules"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await child.wait() == 0


async def test_plan_says_how_much_it_sends() -> None:
    plan = Plan("/a/b", (b"12", b"1234"), 1, lambda answer: None, "x")
    assert plan.bytes_a_request == 3
