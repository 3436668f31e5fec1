"""The metrics are read back with prometheus_client's own parser, as a scraper would."""

import http.client
import socket
import subprocess
import sys

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.observability import HttpEndpoints, Metrics


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
    metrics.ready("digits", True)
    metrics.ready("reviews", False)
    return metrics


def test_what_is_counted(metrics):
    metrics.request("digits", "OK", 0.25)
    metrics.request("digits", "OK", 0.5)
    metrics.request("digits", "INVALID_ARGUMENT", 0.25)
    metrics.inputs("digits", "ok", 3)
    metrics.stages("digits", 0.25, 0.5, 1.0)
    metrics.batch("digits", 8)
    expected = {
        ("triptych_requests_total", "digits", "OK"): 2,
        ("triptych_requests_total", "digits", "INVALID_ARGUMENT"): 1,
        ("triptych_request_seconds_sum", "digits"): 1.0,
        ("triptych_inputs_total", "digits", "ok"): 3,
        ("triptych_stage_seconds_sum", "digits", "preprocess"): 0.25,
        ("triptych_stage_seconds_sum", "digits", "queue"): 0.5,
        ("triptych_stage_seconds_sum", "digits", "predict"): 1.0,
        ("triptych_batch_size_sum", "digits"): 8,
        ("triptych_model_ready", "digits"): 1,
        ("triptych_model_ready", "reviews"): 0,
    }
    assert expected.items() <= samples(metrics).items()


def test_names_that_clients_invent_share_one_label():
    metrics = Metrics()
    for number in range(1000):
        metrics.request(f"m{number}", "NOT_FOUND", 0.1)
        metrics.inputs(f"m{number}", "InvalidInput")
        metrics.stages(f"m{number}", 0.1, 0.1, 0.1)
        metrics.batch(f"m{number}", 1)
    counts = samples(metrics)
    assert counts["triptych_requests_total", "unknown", "NOT_FOUND"] == 1000
    assert {labels[0] for _, *labels in counts} == {"unknown"}


def test_registries_are_apart():
    first, second = Metrics(), Metrics()
    first.request("x", "OK", 0.1)
    assert ("triptych_requests_total", "unknown", "OK") not in samples(second)


@pytest.fixture
def ask(metrics):
    """Yields a function (method, path) -> (status, headers, body), and `ask.reason`."""
    endpoints = HttpEndpoints(metrics, lambda: ask.reason)
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
    assert "triptych_requests" in names


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
    with socket.create_connection(("127.0.0.1", ask.port), timeout=10) as client:
        client.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.endswith(b"\r\n\r\n")


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


def test_client_that_hangs_up_is_no_news(ask, capfd):
    with socket.create_connection(("127.0.0.1", ask.port)) as client:
        # With nothing to linger for, closing sends a reset.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(b"GET /hea")
    assert ask("GET", "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_port_that_is_taken(ask, metrics):
    with pytest.raises(OSError, match="in use"):
        HttpEndpoints(metrics, lambda: None).start("127.0.0.1", ask.port)


def test_stop_frees_the_port(metrics):
    endpoints = HttpEndpoints(metrics, lambda: None)
    port = endpoints.start("127.0.0.1", 0)
    endpoints.stop()
    endpoints.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert endpoints.start("127.0.0.1", port) == port
    endpoints.stop()


def test_logging_goes_to_stderr_from_its_level_on():
    script = (
        "import logging; from serving.observability import configure_logging;"
        "configure_logging('ERROR'); configure_logging('WARNING');"
        "logging.getLogger('a.b').warning('heard\\nforged'); logging.info('not heard')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith(r"WARNING a.b: heard\nforged")
