"""The metrics are read back with prometheus_client's own parser, as a scraper would."""

import http.client
import logging
import socket
import subprocess
import sys

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.observability import HttpEndpoints, Metrics, OneLine
from serving.version_policy import State


def samples(metrics, prefix="triptych_"):
    """(name, the values of its labels) -> value"""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(prefix) and not sample.name.endswith(("_bucket", "_created"))
    }


@pytest.fixture
def metrics():
    metrics = Metrics()
    metrics.set_models(["digits", "reviews"])
    return metrics


def test_what_is_counted(metrics):
    metrics.request("digits", "OK", 0.25)
    metrics.request("digits", "OK", 0.5)
    metrics.request("digits", "INVALID_ARGUMENT", 0.25)
    metrics.inputs("digits", "classified", 3)
    metrics.stages("digits", 0.25, 0.5, 1.0)
    metrics.batch("digits", 8, 0.125)
    metrics.queue_length("digits", lambda: 7)
    metrics.ready("digits", True)
    metrics.ready("reviews", False)
    expected = {
        ("triptych_requests_total", "digits", "OK"): 2,
        ("triptych_requests_total", "digits", "INVALID_ARGUMENT"): 1,
        ("triptych_request_seconds_sum", "digits"): 1.0,
        ("triptych_inputs_total", "digits", "classified"): 3,
        ("triptych_preprocess_seconds_sum", "digits"): 0.25,
        ("triptych_queue_seconds_sum", "digits"): 0.5,
        ("triptych_predict_seconds_sum", "digits"): 1.0,
        ("triptych_batch_size_sum", "digits"): 8,
        ("triptych_batch_seconds_sum", "digits"): 0.125,
        ("triptych_queue_length", "digits"): 7,
        ("triptych_ready", "digits"): 1,
        ("triptych_ready", "reviews"): 0,
    }
    assert expected.items() <= samples(metrics).items()


def test_queue_length_is_read_at_each_scrape(metrics):
    waiting = []
    metrics.queue_length("digits", waiting.__len__)
    assert samples(metrics)["triptych_queue_length", "digits"] == 0
    waiting.append(1)
    assert samples(metrics)["triptych_queue_length", "digits"] == 1


def test_versions_of_a_state_that_is_over_are_none(metrics):
    metrics.versions("digits", {State.LOADING: 1})
    metrics.versions("digits", {State.READY: 2})
    counts = samples(metrics, "triptych_versions")
    assert counts["triptych_versions", "digits", "loading"] == 0
    assert counts["triptych_versions", "digits", "ready"] == 2
    assert len(counts) == len(State)


def test_names_that_clients_invent_share_one_label(metrics):
    for number in range(1000):
        metrics.request(f"m{number}", "NOT_FOUND", 0.1)
        metrics.inputs(f"m{number}", "rejected")
        metrics.stages(f"m{number}", 0.1, 0.1, 0.1)
        metrics.batch(f"m{number}", 1, 0.1)
        metrics.queue_length(f"m{number}", lambda: 1)
        metrics.versions(f"m{number}", {State.READY: 1})
        metrics.ready(f"m{number}", True)
    counts = samples(metrics)
    assert counts["triptych_requests_total", "unknown", "NOT_FOUND"] == 1000
    assert {labels[0] for _, *labels in counts} == {"unknown"}


def test_model_that_is_gone_is_forgotten(metrics):
    metrics.ready("digits", True)
    metrics.versions("digits", {State.READY: 1})
    metrics.request("digits", "OK", 0.1)
    metrics.ready("reviews", True)
    metrics.set_models(["reviews"])
    assert {labels[0] for _, *labels in samples(metrics)} == {"reviews"}


def test_registries_are_apart():
    first, second = Metrics(), Metrics()
    first.request("x", "OK", 0.1)
    assert ("triptych_requests_total", "unknown", "OK") not in samples(second)


@pytest.fixture
def ask(metrics):
    """Yields a function (method, path) -> (status, headers, body), and `ask.reason`."""
    endpoints = HttpEndpoints(metrics.registry, lambda: ask.reason)
    port = endpoints.start("127.0.0.1", 0)

    def ask(method, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, response.headers, body

    ask.reason = None
    ask.port = port
    yield ask
    endpoints.stop()


def test_health_and_readiness_differ(ask):
    ask.reason = "model 'digits' is loading: écoute"
    assert ask("GET", "/healthz")[0] == 200
    status, _, body = ask("GET", "/readyz")
    assert (status, body.decode()) == (503, "model 'digits' is loading: écoute\n")
    ask.reason = None
    assert ask("GET", "/readyz")[0] == 200


def test_scrape(ask, metrics):
    metrics.request("digits", "OK", 0.1)
    status, headers, body = ask("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"triptych_requests", "process_resident_memory_bytes"} <= names


def test_another_path_lists_those_that_are(ask):
    status, _, body = ask("GET", "/")
    assert status == 404
    assert all(path in body for path in (b"/metrics", b"/healthz", b"/readyz"))


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/nothing"])
def test_head_is_get_without_a_body(ask, path):
    ask.reason = "not yet"
    status, headers, body = ask("HEAD", path)
    as_get = ask("GET", path)
    assert status == as_get[0]
    assert headers["Content-Type"] == as_get[1]["Content-Type"]
    assert int(headers["Content-Length"]) > 0
    assert body == b""


def test_other_methods(ask):
    status, headers, _ = ask("POST", "/metrics")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_slow_client_blocks_nobody(ask):
    with socket.create_connection(("127.0.0.1", ask.port)) as silent:
        silent.sendall(b"GET /healthz")
        assert ask("GET", "/healthz")[0] == 200


def test_nothing_is_printed(ask, capfd):
    ask("GET", "/healthz")
    ask("GET", "/nothing")
    assert capfd.readouterr() == ("", "")


def test_port_that_is_taken(ask, metrics):
    with pytest.raises(OSError, match=rf"port {ask.port} .*TRIPTYCH_HTTP_PORT"):
        HttpEndpoints(metrics.registry, lambda: None).start("127.0.0.1", ask.port)


def test_stop_frees_the_port(metrics):
    endpoints = HttpEndpoints(metrics.registry, lambda: None)
    port = endpoints.start("127.0.0.1", 0)
    endpoints.stop()
    endpoints.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert endpoints.start("127.0.0.1", port) == port
    endpoints.stop()


def test_one_line_a_record():
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        record = logging.LogRecord("x", 40, "", 0, "a\r\nb %s", ("c\nd",), sys.exc_info())
    line = OneLine("%(message)s").format(record)
    assert line.startswith(r"a\r\nb c\nd\nTraceback")
    assert len(line.splitlines()) == 1


def test_logging_goes_to_stderr_from_its_level_on():
    script = (
        "import logging; from serving.observability import configure_logging;"
        "configure_logging('ERROR'); configure_logging('WARNING');"
        "logging.getLogger('a.b').warning('heard'); logging.info('not heard')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("WARNING a.b: heard")
