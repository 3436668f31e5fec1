"""What a version has done since it was loaded: counts and times, as clients ask for them."""

import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Duration:
    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class VersionStatistics:
    """Calls in `success` and `fail`, rows in `inference_count`, batches in `execution_count`.

    compute_input: decoding and preprocessing. compute_output: splitting answers, which is not
    measured apart. batches: by the rows of a batch.
    """

    last_inference_ms: int = 0  # since 1970
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, Duration] = field(default_factory=lambda: defaultdict(Duration))

    def batch(self, rows: int, ns: int) -> None:
        self.execution_count += 1
        self.inference_count += rows
        self.batches[rows].add(ns)
        self.last_inference_ms = time.time_ns() // 1_000_000

    def call(self, total_ns: int, queue_us: int, decode_us: int, compute_us: int) -> None:
        self.success.add(total_ns)
        self.queue.add(queue_us * 1000)
        self.compute_input.add(decode_us * 1000)
        self.compute_infer.add(compute_us * 1000)
        self.compute_output.add(0)
