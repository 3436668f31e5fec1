"""The verbs as a person uses them: real files, a real server, and mostly another process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from triptych.main import app

HEAVY = ("tensorflow", "keras", "grpc", "numpy", "librosa", "openvino")


def triptych(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "triptych", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=240, check=False, **options)


def here(*arguments: str) -> Result:
    """In this process, which has imported TensorFlow and Keras already."""
    return CliRunner().invoke(app, list(map(str, arguments)))


class Served:
    """A `triptych serve` of its own."""

    def __init__(self, repository: Path, **environment: str):
        command = [sys.executable, "-m", "triptych", "serve", "--repository", str(repository)]
        command += ["--grpc-port", "0", "--http-port", "0"]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
            text=True,
        )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("call it:"):
                break
        ports = re.search(r":(\d+) \(gRPC\) and http://\S+:(\d+),", self.said[0])
        self.grpc = f"localhost:{ports[1]}"
        self.http = f"http://localhost:{ports[2]}"

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[Served]:
    server = Served(repository, TRIPTYCH_EXECUTOR="openvino", TRIPTYCH_MEASURE_SECONDS="0")
    yield server
    assert server.end() == 0


def test_a_server_leaves_out_what_trains(served: Served) -> None:
    """Seconds of its start, and a sixth of its memory."""
    loaded = Path(f"/proc/{served.process.pid}/maps").read_text()
    assert "/tensorflow/" in loaded
    assert not re.search("/(scipy|h5py|pandas|sklearn)/", loaded)


def lines(result: subprocess.CompletedProcess) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("classify", "--help"), ("models", "describe", "--help")],
)
def test_help_imports_nothing_heavy(arguments) -> None:
    code = f"""
import sys
from triptych.main import app
try:
    app({list(arguments)!r})
finally:
    print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stderr.decode().strip() == "[]"


@pytest.mark.parametrize(
    "verb",
    ["train", "export", "serve", "classify", "health", "quickstart", "models"]
    + [f"models {verb}" for verb in ("list", "describe", "import", "serving")],
)
def test_each_help_has_an_example(verb) -> None:
    assert f"Example: triptych {verb}" in here(*verb.split(), "--help").output


def test_json_has_a_line_for_each_input_in_order(served, data) -> None:
    files = [data / "sounds/low/00.wav", data / "images/red/01.png", data / "sounds/high/01.wav"]
    texts = ["the cat sleeps", "we eat fresh bread"]
    arguments = [arg for text in texts for arg in ("--text", text)]
    result = triptych("classify", *files, *arguments, "--json", "--server", served.grpc)
    assert result.returncode == 0
    answers = lines(result)
    assert [a["input"] for a in answers] == [*map(str, files), *texts]
    assert [a["model"] for a in answers] == [
        "tiny-audio",
        "tiny-image",
        "tiny-audio",
        "tiny-text",
        "tiny-text",
    ]
    assert [a["labels"][0]["label"] for a in answers] == ["low", "red", "high", "animal", "food"]
    for answer in answers:
        assert list(answer) == ["input", "model", "version", "labels", "error"]
        assert answer["version"] == 1
        assert answer["error"] is None
        assert sum(label["score"] for label in answer["labels"]) == pytest.approx(1, abs=1e-4)


def test_folders_are_taken_whole_and_sorted(served, data) -> None:
    result = triptych("classify", data / "images", "--json", "--server", served.grpc)
    names = [a["input"] for a in lines(result)]
    assert names == sorted(names)
    assert len(names) == 60
    right = [a["labels"][0]["label"] == Path(a["input"]).parent.name for a in lines(result)]
    assert sum(right) >= 50


def test_standard_input(served, data) -> None:
    content = (data / "images/blue/02.png").read_bytes()
    result = triptych("classify", "-", "--json", "--server", served.grpc, input=content)
    (answer,) = lines(result)
    assert (answer["input"], answer["model"]) == ("-", "tiny-image")


def test_one_bad_input_of_many(served, data, tmp_path) -> None:
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    good = data / "images/red/01.png"
    arguments = [good, bad, tmp_path / "absent.png", "--text", " ", "--server", served.grpc]
    result = triptych("classify", *arguments, "--json")
    first, broken, absent, empty = lines(result)
    assert result.returncode == 1
    assert first["error"] is None
    assert "damaged" in broken["error"] or "not a picture" in broken["error"]
    assert "No such file" in absent["error"]
    assert "empty" in empty["error"]
    assert broken["labels"] == absent["labels"] == []
    assert b"Traceback" not in result.stderr


def test_a_call_of_bad_inputs_alone_tells_each_ones_reason(served, tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "b.png").write_bytes(b"")
    result = triptych("classify", tmp_path, "--json", "--server", served.grpc)
    a, b = lines(result)
    assert "not a picture" in a["error"]
    assert "empty" in b["error"]


def test_an_unknown_model_lists_the_known(served) -> None:
    result = triptych("classify", "--text", "x", "--model", "no", "--server", served.grpc, "--json")
    assert "tiny-text" in lines(result)[0]["error"]


def test_the_table_fits_80_columns(served, data) -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    files = sorted((data / "images/red").iterdir())[:3]
    result = triptych("classify", *files, "--server", served.grpc, env=environment)
    text = result.stdout.decode()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "tiny-image" in text
    assert "red 0." in text or "red 1." in text


def test_no_server() -> None:
    result = triptych("classify", "--text", "x", "--server", "localhost:1")
    assert result.returncode == 3
    assert b"no server at localhost:1: start one" in result.stderr


def test_nothing_to_classify() -> None:
    assert triptych("classify").returncode == 2


def test_models(served) -> None:
    listed = triptych("models", "serving", "--server", served.grpc).stdout.decode()
    assert all(name in listed for name in ("tiny-audio", "tiny-image", "tiny-text"))
    shown = triptych("models", "serving", "tiny-text", "--server", served.grpc).stdout.decode()
    assert all(word in shown for word in ("kim_cnn", "animal", "READY", "openvino"))
    answer = json.loads(triptych("models", "serving", "--json", "--server", served.grpc).stdout)
    assert len(answer["models"]) == 3
    missing = triptych("models", "serving", "nope", "--server", served.grpc)
    assert missing.returncode == 1
    assert b"tiny-audio" in missing.stderr


def test_health(served) -> None:
    assert triptych("health", "--server", served.grpc).returncode == 0
    assert triptych("health", "tiny-text", "--server", served.grpc).returncode == 0
    assert triptych("health", "nope", "--server", served.grpc).returncode == 1
    assert triptych("health", "--server", "localhost:1").returncode == 1


def test_a_taken_port_is_one_clear_line(served, repository) -> None:
    port = served.grpc.rpartition(":")[2]
    result = triptych("serve", "--repository", repository, "--grpc-port", port, "--http-port", "0")
    assert result.returncode == 1
    assert f":{port}" in result.stderr.decode()
    assert b"Traceback" not in result.stderr


def test_a_wrong_setting_is_named() -> None:
    environment = {**os.environ, "TRIPTYCH_MAX_BATCH_SIZE": "many"}
    result = triptych("serve", env=environment)
    assert result.returncode == 2
    assert b"TRIPTYCH_MAX_BATCH_SIZE" in result.stderr


def test_an_absent_repository_is_named(tmp_path) -> None:
    arguments = ("--grpc-port", "0", "--http-port", "0")
    result = triptych("serve", "--repository", tmp_path / "nowhere", *arguments)
    assert result.returncode == 1
    assert b"nowhere" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.fixture
def samples(data, tmp_path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in ("images/red/01.png", "sounds/low/01.wav"):
        (folder / Path(name).name).write_bytes((data / name).read_bytes())
    (folder / "text.txt").write_text("the cat sleeps\n")
    return folder


SAID = ("tiny-image", "tiny-audio", "tiny-text", "red", "low")


@pytest.mark.full  # CI ends with `make quickstart ONCE=1`
def test_quickstart_once(repository, samples) -> None:
    arguments = ("--repository", repository, "--samples", samples, "--once")
    result = triptych("quickstart", *arguments)
    assert result.returncode == 0, result.stderr.decode()
    assert all(name in result.stdout.decode() for name in SAID)


def test_quickstart_serves_until_ctrl_c_and_leaves_nothing_behind(repository, samples) -> None:
    command = [sys.executable, "-m", "triptych", "quickstart", "--repository", repository]
    command += ["--samples", samples]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "TRIPTYCH_MEASURE_SECONDS": "0"}
    with subprocess.Popen(command, **pipes, env=environment) as process:
        said = next(line for line in process.stderr if b"still serving" in line).decode()
        port = int(re.search(r"--server localhost:(\d+)", said)[1])
        socket.create_connection(("127.0.0.1", port)).close()
        process.send_signal(signal.SIGINT)
        try:
            table, _ = process.communicate(timeout=60)
        finally:
            process.terminate()  # it does nothing to a process that has ended
    assert process.returncode == 0
    assert all(name in table.decode() for name in SAID)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_quickstart_tells_what_a_server_that_does_not_start_said(tmp_path) -> None:
    (tmp_path / "models").mkdir()
    arguments = ("--repository", tmp_path / "models", "--samples", tmp_path, "--once")
    environment = {**os.environ, "TRIPTYCH_MAX_BATCH_SIZE": "many"}
    result = triptych("quickstart", *arguments, env=environment)
    assert result.returncode == 1
    assert b"TRIPTYCH_MAX_BATCH_SIZE" in result.stderr
    assert b"Traceback" not in result.stderr


def test_training_from_the_command_line(data, tmp_path) -> None:
    """The last step of a run again: it goes on, trains nothing anew, and exports."""
    out = tmp_path / "run"
    arguments = ["--model", "kim_cnn", "--data", data / "texts.csv", "--out", out]
    arguments += ["--option", "embedding_dim=8", "--option", "filters=4", "--epochs", "2"]
    first = triptych("train", *arguments)
    assert first.returncode == 0, first.stderr.decode()
    history = (out / "history.csv").read_text()
    assert len(history.splitlines()) == 3
    again = here("train", *arguments)
    assert again.exit_code == 0, again.output
    assert (out / "history.csv").read_text() == history
    other = here("train", *arguments, "--seed", "1")
    assert other.exit_code == 1
    assert "holds another run" in other.output
    exported = here("export", out, "--repository", tmp_path / "repository", "--name", "mine")
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "repository/mine/1/saved_model.pb").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "resnet21", "--data", "x"), "no architecture 'resnet21'"),
        (("--model", "resnet20", "--data", "nowhere"), "nowhere"),
    ],
)
def test_training_errors_are_one_line(arguments, said, tmp_path) -> None:
    result = here("train", *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert said in result.output
    assert isinstance(result.exception, SystemExit)
