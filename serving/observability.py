"""What an operator sees: metrics, health over HTTP, log lines."""

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
POLL_SECONDS = 0.05  # how long stopping the HTTP server may take
STAGES = ("preprocess", "queue", "predict")


class Metrics:
    """Prometheus metrics of one server. Only names of models that exist become labels."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: set[str] = set()
        self._requests = Counter(
            "triptych_requests", "Calls answered", ["model", "status"], registry=self.registry
        )
        self._inputs = Counter(
            "triptych_inputs", "Inputs, by outcome", ["model", "outcome"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "triptych_request_seconds",
            "A call, from its arrival to its answer",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "triptych_stage_seconds",
            "Where an input's time went",
            ["model", "stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batch_size = Histogram(
            "triptych_batch_size",
            "Inputs in a batch that ran",
            ["model"],
            buckets=SIZES,
            registry=self.registry,
        )
        self._ready = Gauge(
            "triptych_model_ready",
            "1 if a version of the model is ready",
            ["model"],
            registry=self.registry,
        )

    def request(self, model: str, status: str, seconds: float) -> None:
        model = self._label(model)
        self._requests.labels(model, status).inc()
        self._request_seconds.labels(model).observe(seconds)

    def inputs(self, model: str, outcome: str, count: int = 1) -> None:
        self._inputs.labels(self._label(model), outcome).inc(count)

    def stages(self, model: str, *seconds: float) -> None:
        """Seconds of each of STAGES, in their order."""
        for stage, value in zip(STAGES, seconds, strict=True):
            self._stage_seconds.labels(self._label(model), stage).observe(value)

    def batch(self, model: str, size: int) -> None:
        self._batch_size.labels(self._label(model)).observe(size)

    def ready(self, model: str, ready: bool) -> None:
        self._known.add(model)
        self._ready.labels(model).set(ready)

    def _label(self, model: str) -> str:
        return model if model in self._known else "unknown"


class HttpEndpoints:
    """/metrics, /healthz and /readyz.

    Args: why_not_ready: None once the server is ready, else the reason.
    """

    def __init__(self, metrics: Metrics, why_not_ready: Callable[[], str | None]):
        self._metrics_app = make_wsgi_app(metrics.registry)
        self._why_not_ready = why_not_ready
        self._server: Any = None

    def start(self, host: str, port: int) -> int:
        """Returns the port that was bound.  Raises OSError if it is taken."""
        self._server = make_server(host, port, self._app, ThreadingWSGIServer, _SilentHandler)
        threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True
        ).start()
        bound: int = self._server.server_port
        return bound

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method == "GET":
            return self._get(environ, start_response)
        if method == "HEAD":  # which prometheus_client's application refuses
            began: list[Any] = []
            as_get = environ | {"REQUEST_METHOD": "GET"}
            body = b"".join(self._get(as_get, lambda *arguments: began.extend(arguments)))
            status, headers = began
            start_response(status, [*headers, ("Content-Length", str(len(body)))])
            return []
        start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
        return [b"only GET and HEAD\n"]

    def _get(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            body: Iterable[bytes] = self._metrics_app(environ, start_response)
            return body
        status, text = "404 Not Found", "there are /metrics, /healthz and /readyz"
        if path == "/healthz":
            status, text = "200 OK", "ok"
        elif path == "/readyz":
            reason = self._why_not_ready()
            status = "503 Service Unavailable" if reason else "200 OK"
            text = reason or "ready"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]


class _SilentHandler(WSGIRequestHandler):
    """Scrapes and health checks would be most of the log."""

    timeout = 10.0  # seconds for a client to send its request, or it keeps its thread

    def handle(self) -> None:
        with suppress(OSError):  # a client that is slow or gone
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass


class _OneLine(logging.Formatter):
    """A traceback too becomes one line, and no client can forge a second."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


def configure_logging(level: str) -> None:
    """One line a record, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
