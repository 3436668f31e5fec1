"""What an operator sees: metrics and log lines. How they are asked for is `protocols.http`'s.

Workers that share a port count in files of one folder, so that a scrape, which lands on any of
them, tells the sum: the multiprocess mode of prometheus_client.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from serving.errors import TriptychError
from serving.manager import Manager
from serving.version_policy import State

# fmt: off
SECONDS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
)
# fmt: on
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
STAGES = ("decode", "queue", "compute")
UNKNOWN = "unknown"  # for a name that no model has
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # by which name prometheus_client takes it


def share_metrics(folder: str, worker: int) -> None:
    """This process counts together with others from now on: before the first `Metrics`.

    Files are named after the worker, not after the process: one that is started again counts on
    where its predecessor ended, and a crash loop leaves no heap of files.
    """
    os.environ[FOLDER] = folder
    made = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
    values.ValueClass = made


def forget_worker(folder: str, worker: int) -> None:
    """It has ended, and is in no state any more. What it counted stays."""
    mark_process_dead(worker, folder)  # type: ignore[no-untyped-call]


class VersionGauges(NamedTuple):
    """One version at the moment of a scrape. waiting: inputs in its queue."""

    model: str
    version: int
    state: str
    executor: str
    precision: str
    load_seconds: float
    waiting: int | None  # None: it is not loaded


class Metrics:
    """Prometheus metrics of one server, or of all workers that share a port. Only names of models
    that exist become labels.

    It is written to on the event loop, a few times in each call: so the children of each label
    set, which cost microseconds to find, are kept.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        folder = os.environ.get(FOLDER)
        if folder:
            self.registry.register(_OfAllWorkers(folder))
        counted = None if folder else self.registry  # what files tell is not told twice
        self._known: set[str] = set()
        self._requests = Counter(
            "triptych_requests",
            "Calls answered",
            ["model", "protocol", "status"],
            registry=counted,
        )
        self._inputs = Counter(
            "triptych_inputs", "Inputs, by outcome", ["model", "outcome"], registry=counted
        )
        self._request_seconds = Histogram(
            "triptych_request_seconds",
            "A call, from its arrival to its answer",
            ["model", "protocol"],
            buckets=SECONDS,
            registry=counted,
        )
        self._stage_seconds = Histogram(
            "triptych_stage_seconds",
            "Where a call's time went",
            ["model", "stage"],
            buckets=SECONDS,
            registry=counted,
        )
        self._batch_size = Histogram(
            "triptych_batch_size",
            "Inputs in a batch that ran",
            ["model"],
            buckets=SIZES,
            registry=counted,
        )
        self._explanations = Counter(
            "triptych_explanations",
            "Explanations asked for",
            ["model", "method", "status"],
            registry=counted,
        )
        self._explanation_seconds = Histogram(
            "triptych_explanation_seconds",
            "An explanation, from its call's arrival to its answer",
            ["model", "method"],
            buckets=SECONDS,
            registry=counted,
        )
        self._ready = Gauge(
            "triptych_model_ready",
            "1 if a version of the model is ready, in every worker",
            ["model"],
            multiprocess_mode="livemin",
            registry=counted,
        )
        self._versions = _Versions()
        self.registry.register(self._versions)
        # Label values, as they are given -> what counts them.
        self._of_request: dict[
            tuple[str, str, str], tuple[Callable[[], None], Callable[[float], None]]
        ] = {}
        self._of_inputs: dict[tuple[str, str], Callable[[float], None]] = {}
        self._of_stages: dict[str, Sequence[Callable[[float], None]]] = {}
        self._of_batch: dict[str, Callable[[float], None]] = {}

    def request(self, model: str, protocol: str, status: str, seconds: float) -> None:
        counting = self._of_request.get((model, protocol, status))
        if counting is None:
            label = self._label(model)
            counting = (
                self._requests.labels(label, protocol, status).inc,
                self._request_seconds.labels(label, protocol).observe,
            )
            if model in self._known:
                self._of_request[model, protocol, status] = counting
        counting[0]()
        counting[1](seconds)

    def inputs(self, model: str, outcome: str, count: int = 1) -> None:
        counting = self._of_inputs.get((model, outcome))
        if counting is None:
            counting = self._inputs.labels(self._label(model), outcome).inc
            if model in self._known:
                self._of_inputs[model, outcome] = counting
        counting(count)

    def stages(self, model: str, decode: float, queue: float, compute: float) -> None:
        """Seconds of each."""
        counting = self._of_stages.get(model)
        if counting is None:
            label = self._label(model)
            counting = [self._stage_seconds.labels(label, stage).observe for stage in STAGES]
            if model in self._known:
                self._of_stages[model] = counting
        counting[0](decode)
        counting[1](queue)
        counting[2](compute)

    def batch(self, model: str, size: int) -> None:
        counting = self._of_batch.get(model)
        if counting is None:
            counting = self._batch_size.labels(self._label(model)).observe
            if model in self._known:
                self._of_batch[model] = counting
        counting(size)

    def explanation(self, model: str, method: str, status: str, seconds: float) -> None:
        """Seldom: what counts it is looked up each time. method: one that is known."""
        label = self._label(model)
        self._explanations.labels(label, method, status).inc()
        self._explanation_seconds.labels(label, method).observe(seconds)

    def ready(self, model: str, ready: bool) -> None:
        self._known.add(model)
        self._ready.labels(model).set(ready)

    def see(self, versions: Iterable[VersionGauges]) -> None:
        """What a scrape says of versions from now on."""
        self._versions.seen = tuple(versions)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics and their content type, for an Accept header. In any thread."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _label(self, model: str) -> str:
        return model if model in self._known else UNKNOWN


class _OfAllWorkers(Collector):
    """What the files of a folder tell together."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        files = []
        for entry in os.scandir(self._folder):
            # The library makes a file first and fills it then, and cannot read an empty one.
            with suppress(FileNotFoundError):
                if entry.name.endswith(".db") and entry.stat().st_size:
                    files.append(entry.path)
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged


class _Versions(Collector):
    """Gauges of versions: those that are gone are gone from the next scrape too.

    Of several workers, the one that is asked tells its own: they follow one repository.
    """

    def __init__(self) -> None:
        self.seen: tuple[VersionGauges, ...] = ()

    def collect(self) -> Iterator[Metric]:
        seen = self.seen
        states = GaugeMetricFamily(
            "triptych_version_state",
            "1 for the state that a version is in; GetModel has the reason",
            labels=["model", "version", "state"],
        )
        facts = GaugeMetricFamily(
            "triptych_version_info",
            "1 for a loaded version: what computes it",
            labels=["model", "version", "executor", "precision"],
        )
        loads = GaugeMetricFamily(
            "triptych_version_load_seconds",
            "That the last load of a version took",
            labels=["model", "version"],
        )
        queues = GaugeMetricFamily(
            "triptych_queue_length", "Inputs that wait for a batch", labels=["model", "version"]
        )
        for one in seen:
            named = [one.model, str(one.version)]
            states.add_metric([*named, one.state], 1)
            if one.load_seconds:
                loads.add_metric(named, one.load_seconds)
            if one.waiting is not None:
                facts.add_metric([*named, one.executor, one.precision], 1)
                queues.add_metric(named, one.waiting)
        yield from (states, facts, loads, queues)


def gauges_of(manager: Manager) -> list[VersionGauges]:
    return [
        VersionGauges(
            model,
            number,
            status.state.name,
            status.executor_name,
            status.precision,
            status.load_seconds,
            _waiting(manager, model, number) if status.state is State.READY else None,
        )
        for model, versions in manager.models().items()
        for number, status in versions.items()
    ]


def _waiting(manager: Manager, model: str, version: int) -> int | None:
    try:
        with manager.acquire(model, version) as handle:
            return len(handle.loaded.batcher)
    except TriptychError:  # the server is ending
        return None


class _OneLine(logging.Formatter):
    """A traceback too becomes one line, and no client can forge a second."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


def configure_logging(level: str) -> None:
    """One line a record, to standard error. Of several workers, it has the process too."""
    handler = logging.StreamHandler()
    process = " %(process)d" if os.environ.get(FOLDER) else ""
    handler.setFormatter(_OneLine(f"%(asctime)s{process} %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
