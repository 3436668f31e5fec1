"""Settings by environment: their defaults, their bounds, and what is said of a wrong one."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.runtime.decoding import Limits
from serving.runtime.threads import thread_budget
from serving.settings import Settings, explain


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in [name for name in os.environ if name.startswith("TRIPTYCH_")]:
        monkeypatch.delenv(name)


def problems(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    return explain(caught.value)


def test_defaults():
    settings = Settings()
    assert settings.repository == Path("model_repository")
    assert (settings.host, settings.grpc_port, settings.http_port) == ("127.0.0.1", 8500, 8501)
    assert (settings.executor, settings.precision) == ("auto", "f32")
    assert settings.batch_timeout_us == settings.queue_timeout_ms == 0
    assert settings.max_request_bytes == 64 * 1024 * 1024
    assert settings.threads == settings.preprocess_threads == thread_budget()
    assert settings.workers == 1
    assert settings.cache.name == "triptych"
    assert settings.limits == Limits()


def test_every_field_says_what_it_is():
    assert all(field.description for field in Settings.model_fields.values())


def test_every_number_is_bounded_below():
    for name, schema in Settings.model_json_schema()["properties"].items():
        if schema.get("type") in ("integer", "number"):
            assert {"minimum", "exclusiveMinimum"} & schema.keys(), name


def test_variables(monkeypatch):
    monkeypatch.setenv("TRIPTYCH_REPOSITORY", "/models")
    monkeypatch.setenv("TRIPTYCH_GRPC_PORT", "0")
    monkeypatch.setenv("TRIPTYCH_EXECUTOR", "tensorflow")
    monkeypatch.setenv("TRIPTYCH_LOG_LEVEL", "debug")
    settings = Settings()
    assert settings.repository == Path("/models")
    assert settings.grpc_port == 0
    assert settings.executor == "tensorflow"
    assert settings.log_level == "DEBUG"


def test_the_cache_is_where_the_user_keeps_theirs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Settings().cache == tmp_path / "triptych"
    monkeypatch.setenv("TRIPTYCH_CACHE", "/elsewhere")
    assert Settings().cache == Path("/elsewhere")


@pytest.mark.parametrize("none", ["none", "None", "NONE"])
def test_the_cache_can_be_switched_off(monkeypatch, none):
    monkeypatch.setenv("TRIPTYCH_CACHE", none)
    assert Settings().cache is None
    monkeypatch.delenv("TRIPTYCH_CACHE")
    assert Settings(cache=none).cache is None
    assert Settings(cache="./none").cache == Path("none")
    assert "none" in Settings.model_fields["cache"].description


def test_limits_are_those_that_were_set(monkeypatch):
    monkeypatch.setenv("TRIPTYCH_MAX_INPUT_BYTES", "1")
    monkeypatch.setenv("TRIPTYCH_MAX_PIXELS", "2")
    monkeypatch.setenv("TRIPTYCH_MAX_AUDIO_SECONDS", "3")
    monkeypatch.setenv("TRIPTYCH_MAX_CHARACTERS", "4")
    assert Settings().limits == Limits(1, 2, 3.0, 4)


def test_empty_variable_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv("TRIPTYCH_HTTP_PORT", "")
    assert Settings().http_port == 8501


def test_variables_of_kubernetes_do_no_harm(monkeypatch):
    monkeypatch.setenv("TRIPTYCH_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("TRIPTYCH_PORT", "tcp://10.0.0.1:8500")
    assert Settings() == Settings.model_construct()


def test_frozen():
    with pytest.raises(ValidationError):
        Settings().grpc_port = 1


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("TRIPTYCH_GRPC_PORT", "70000", "65535"),
        ("TRIPTYCH_HTTP_PORT", "http", "integer"),
        ("TRIPTYCH_EXECUTOR", "torch", "'auto', 'openvino' or 'tensorflow'"),
        ("TRIPTYCH_MAX_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("TRIPTYCH_PRECISION", "bf16", "'f32' or 'auto'"),
        ("TRIPTYCH_THREADS", "0", "greater than or equal to 1"),
        ("TRIPTYCH_WORKERS", "0", "greater than or equal to 1"),
        ("TRIPTYCH_MEASURE_SECONDS", "nan", "600"),
        ("TRIPTYCH_BATCH_TIMEOUT_US", "-1", "greater than or equal to 0"),
        ("TRIPTYCH_BATCH_TIMEOUT_US", "0.5", "integer"),
        ("TRIPTYCH_QUEUE_TIMEOUT_MS", "3600001", "3600000"),
        ("TRIPTYCH_POLL_SECONDS", "0", "greater than 0"),
        ("TRIPTYCH_DRAIN_SECONDS", "inf", "3600"),
        ("TRIPTYCH_MAX_AUDIO_SECONDS", "inf", "finite"),
        ("TRIPTYCH_MAX_REQUEST_BYTES", str(2**31), str(2**31 - 1)),
        ("TRIPTYCH_LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_explained(monkeypatch, name, value, accepted):
    line = problems(monkeypatch, **{name: value})
    assert line.startswith(f"{name} is '{value}': ")
    assert accepted in line
    assert "\n" not in line


def test_one_line_each(monkeypatch):
    lines = problems(
        monkeypatch, TRIPTYCH_GRPC_PORT="x" * 1000, TRIPTYCH_MAX_PIXELS="a\nb"
    ).splitlines()
    assert [line.split(" is ")[0] for line in lines] == [
        "TRIPTYCH_GRPC_PORT",
        "TRIPTYCH_MAX_PIXELS",
    ]
    assert all(len(line) < 300 for line in lines)
