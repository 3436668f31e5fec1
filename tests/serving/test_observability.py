"""The metrics are read back with prometheus_client's own parser, as a scraper would."""

import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.observability import Metrics, VersionGauges


def samples(metrics, prefix="triptych_"):
    """(name, the values of its labels) -> value"""
    text = metrics.render()[0].decode()
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
    metrics.request("digits", "triptych", "OK", 0.25)
    metrics.request("digits", "triptych", "OK", 0.5)
    metrics.request("digits", "http", "OK", 0.5)
    metrics.request("digits", "triptych", "INVALID_ARGUMENT", 0.25)
    metrics.request("reviews", "triptych", "OK", 2.0)
    metrics.inputs("digits", "ok", 3)
    metrics.inputs("digits", "ok")
    metrics.stages("digits", 0.25, 0.5, 1.0)
    metrics.stages("digits", 0.25, 0.5, 1.0)
    metrics.batch("digits", 8)
    metrics.batch("digits", 2)
    expected = {
        ("triptych_requests_total", "digits", "triptych", "OK"): 2,
        ("triptych_requests_total", "digits", "http", "OK"): 1,
        ("triptych_requests_total", "digits", "triptych", "INVALID_ARGUMENT"): 1,
        ("triptych_requests_total", "reviews", "triptych", "OK"): 1,
        ("triptych_request_seconds_sum", "digits", "triptych"): 1.0,
        ("triptych_request_seconds_sum", "digits", "http"): 0.5,
        ("triptych_request_seconds_sum", "reviews", "triptych"): 2.0,
        ("triptych_inputs_total", "digits", "ok"): 4,
        ("triptych_stage_seconds_sum", "digits", "decode"): 0.5,
        ("triptych_stage_seconds_sum", "digits", "queue"): 1.0,
        ("triptych_stage_seconds_sum", "digits", "compute"): 2.0,
        ("triptych_batch_size_sum", "digits"): 10,
        ("triptych_batch_size_count", "digits"): 2,
        ("triptych_model_ready", "digits"): 1,
        ("triptych_model_ready", "reviews"): 0,
    }
    assert expected.items() <= samples(metrics).items()


def test_names_that_clients_invent_share_one_label():
    metrics = Metrics()
    for number in range(1000):
        metrics.request(f"m{number}", "oip", "NOT_FOUND", 0.1)
        metrics.inputs(f"m{number}", "InvalidInput")
        metrics.stages(f"m{number}", 0.1, 0.1, 0.1)
        metrics.batch(f"m{number}", 1)
    counts = samples(metrics)
    assert counts["triptych_requests_total", "unknown", "oip", "NOT_FOUND"] == 1000
    assert {labels[0] for _, *labels in counts} == {"unknown"}


def test_a_model_that_appears_later_gets_its_own_label():
    metrics = Metrics()
    for _ in range(2):
        metrics.request("digits", "http", "NOT_FOUND", 0.1)
        metrics.inputs("digits", "ok")
        metrics.stages("digits", 0.1, 0.1, 0.1)
        metrics.batch("digits", 1)
        metrics.ready("digits", True)
    counts = samples(metrics)
    for name, *labels in (
        ("triptych_requests_total", "http", "NOT_FOUND"),
        ("triptych_inputs_total", "ok"),
        ("triptych_stage_seconds_count", "queue"),
        ("triptych_batch_size_count",),
    ):
        assert counts[name, "unknown", *labels] == counts[name, "digits", *labels] == 1


def test_versions_are_as_they_were_last_seen():
    metrics = Metrics()
    old = VersionGauges("digits", 1, "READY", "openvino", "bf16", 1.5, 7)
    new = VersionGauges("digits", 2, "FAILED", "", "", 0.5, None)
    metrics.see([old, new])
    assert samples(metrics) == {
        ("triptych_version_state", "digits", "READY", "1"): 1,
        ("triptych_version_state", "digits", "FAILED", "2"): 1,
        ("triptych_version_info", "openvino", "digits", "bf16", "1"): 1,
        ("triptych_version_load_seconds", "digits", "1"): 1.5,
        ("triptych_version_load_seconds", "digits", "2"): 0.5,
        ("triptych_queue_length", "digits", "1"): 7,
    }
    metrics.see([new._replace(state="NEW", load_seconds=0.0)])
    assert samples(metrics) == {("triptych_version_state", "digits", "NEW", "2"): 1}


def test_registries_are_apart():
    first, second = Metrics(), Metrics()
    first.request("x", "http", "OK", 0.1)
    assert ("triptych_requests_total", "unknown", "http", "OK") not in samples(second)


def test_the_format_follows_what_is_accepted(metrics):
    assert metrics.render()[1].startswith("text/plain")
    body, kind = metrics.render("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


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
