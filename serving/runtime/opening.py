"""Opens an endpoint on the executor that is the fastest here, proved to agree with the others.

`auto` measures each within a bounded time and remembers what it found; which batch size is the
best comes out of the same measurement, for it is another on each machine and for each network.
"""

import json
import logging
import math
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from serving.errors import BadVersion
from serving.runtime.cache import Cache
from serving.runtime.endpoint import STRING, Endpoint, Tensors
from serving.runtime.executors import EXECUTORS, Executor, Signature

logger = logging.getLogger(__name__)

PACKAGES = ("triptych", "openvino", "tensorflow", "tensorflow-cpu")  # the last two: either
AGREEMENT = 1e-4  # between executors; of numbers over 1, relative
BF16_SCORE_TOLERANCE = 0.01
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH_COST_SECONDS = 0.0005  # of a batch beyond its computing: queue, thread, answers
GOOD_ENOUGH = 1.03  # a smaller batch wins where it takes no longer an example than this
RULES = 3  # by which it is chosen: what was remembered by earlier ones is measured anew
RUN_SECONDS = 0.05  # a measurement goes on for so long
ROUNDS = 3  # of all sizes, if there is time: what else runs here comes and goes

Speeds = dict[str, dict[int, float]]  # of an executor, by batch size: examples a second


class Wish(NamedTuple):
    """How an endpoint is to be opened.

    executor:  "auto" or one of EXECUTORS.
    precision: "f32", or "auto": bf16 where the golden inputs keep their top-1, and every score
               within BF16_SCORE_TOLERANCE, and where it is faster.
    threads:   of all lanes together.
    seconds:   that measuring may take.
    lone_calls: batches are as large as the load makes them, and a call that no other runs beside
               shall have all threads: that takes a compilation of its own, and its memory. Without
               them all batches are of the best size.
    """

    executor: str = "openvino"
    precision: str = "f32"
    threads: int = 1
    max_batch_size: int = 32
    seconds: float = 2.0
    lone_calls: bool = True


@dataclass(frozen=True)
class Report:
    """What was found out. speeds: "openvino f32" -> batch size -> examples a second.

    difference: of bf16 from f32 in the worst score; None where bf16 was not asked for.
    """

    executor: str
    precision: str
    best_batch_size: int
    speeds: Speeds = field(default_factory=dict)
    difference: float | None = None
    notes: tuple[str, ...] = ()


def open_endpoint(
    signature: Signature,
    endpoint: Endpoint,
    probes: Sequence[Tensors],
    wish: Wish,
    cache: Cache,
    key: str,
) -> tuple[Executor, Report]:
    """
    Args:   signature: loads it, where what was kept of it does not do.
            probes: real inputs of one example each, with batch axis where there is one.
            key: of the signature's weights and graph.
    Raises: BadVersion if no executor that is wished for can open it, with each one's reason.
    """
    return _Opening(signature, endpoint, probes, wish, cache, key).open()


def recall(key: str, endpoint: str, wish: Wish, cache: Cache) -> Report | None:
    """What was found out when it was opened before, if it was."""
    data = cache.read(_place(key, endpoint, wish))
    if data is None:
        return None
    try:
        report = TypeAdapter(Report).validate_json(data)
    except ValidationError:  # cut short, or of another release
        return None
    return report if report.executor in EXECUTORS and report.best_batch_size > 0 else None


class _Opening:
    def __init__(
        self,
        signature: Signature,
        endpoint: Endpoint,
        probes: Sequence[Tensors],
        wish: Wish,
        cache: Cache,
        key: str,
    ) -> None:
        self._signature = signature
        self._endpoint = endpoint
        self._probes = probes
        self._wish = wish
        self._cache = cache
        self._key = key
        self._reasons: list[str] = []

    def open(self) -> tuple[Executor, Report]:
        remembered = recall(self._key, self._endpoint.name, self._wish, self._cache)
        if remembered is not None:
            executor = self._try(remembered.executor, remembered.precision)
            if executor is not None:
                return executor, remembered
        executor, report = self._find()
        place = _place(self._key, self._endpoint.name, self._wish)
        self._cache.write(place, json.dumps(asdict(report)).encode())
        return executor, report

    def _find(self) -> tuple[Executor, Report]:
        names = list(EXECUTORS) if self._wish.executor == "auto" else [self._wish.executor]
        opened = [executor for name in names if (executor := self._try(name, "f32"))]
        if not opened:
            raise BadVersion(
                f"the `{self._endpoint.name}` endpoint cannot be opened by "
                f"{'; '.join(self._reasons)}: try another executor"
            )
        if len(opened) > 1 and not self._agree(opened):
            opened = self._keep(opened, "tensorflow")
        if len(opened) > 1 and not self._probes:
            self._reasons.append("nothing to measure with: its inputs may have any shape")
            opened = self._keep(opened, "tensorflow")
        difference = None
        if self._wish.precision == "auto":
            difference = self._admit_bf16(opened)
        seconds = self._wish.seconds / len(opened)
        speeds = {_label(executor): self._measure(executor, seconds) for executor in opened}
        score = self._mean_speed if self._wish.lone_calls else self._best_speed
        best = max(opened, key=lambda one: score(speeds, _label(one)))
        if best.precision == "f32" and any(one.precision == "bf16" for one in opened):
            self._reasons.append("bf16 keeps the scores, and is no faster here: f32 is served")
        for executor in opened:
            if executor is not best:
                executor.close()
        return best, Report(
            best.name,
            best.precision,
            self._best_batch_size(speeds[_label(best)]),
            speeds,
            difference,
            tuple(self._reasons),
        )

    def _try(self, name: str, precision: str) -> Executor | None:
        executor = None
        try:
            executor = EXECUTORS[name](
                self._signature,
                precision,
                self._wish.threads,
                self._cache,
                f"{self._key} {self._endpoint.name}",
                self._wish.lone_calls,
            )
            for probe in self._probes:  # what compiles need not run
                executor.run(probe)
        except Exception as error:  # an executor raises whatever its library does
            self._reasons.append(f"{name} ({type(error).__name__}: {str(error)[:300]})")
            if executor is not None:
                executor.close()
            return None
        return executor

    def _agree(self, executors: Sequence[Executor]) -> bool:
        for probe in self._probes:
            first, *others = [executor.run(probe, alone=True) for executor in executors]
            for other in others:
                for name, spec in self._endpoint.outputs.items():
                    if spec.dtype == STRING:
                        continue
                    difference = _difference(first.get(name), other.get(name))
                    if not difference <= AGREEMENT:
                        self._reasons.append(
                            f"executors differ by {difference:.2g} in {name}, over {AGREEMENT:g}: "
                            "TensorFlow's own numbers are served"
                        )
                        return False
        return True

    def _keep(self, executors: list[Executor], name: str) -> list[Executor]:
        for executor in executors:
            if executor.name != name:
                executor.close()
        return [executor for executor in executors if executor.name == name]

    def _admit_bf16(self, opened: list[Executor]) -> float | None:
        """Puts an executor in bf16 before the one in f32, if it may be served."""
        exact = next((one for one in opened if one.name == "openvino"), None)
        if exact is None or not self._probes or "scores" not in self._endpoint.outputs:
            self._reasons.append("bf16 needs OpenVINO, golden inputs and scores: f32 is served")
            return None
        rough = self._try("openvino", "bf16")
        if rough is None:
            return None
        if rough.precision != "bf16":
            rough.close()
            self._reasons.append("this processor has no bf16: f32 is served")
            return None
        difference, same = 0.0, True
        for probe in self._probes:
            wanted, given = exact.run(probe)["scores"], rough.run(probe)["scores"]
            difference = float(np.maximum(difference, np.abs(wanted - given).max()))  # NaN stays
            same = same and bool((wanted.argmax(-1) == given.argmax(-1)).all())
        if same and difference <= BF16_SCORE_TOLERANCE:
            opened.insert(opened.index(exact), rough)
        else:
            rough.close()
            what = "another top-1" if not same else f"scores {difference:.2g} off"
            self._reasons.append(f"bf16 gives {what} on the golden inputs: f32 is served")
        return difference

    def _measure(self, executor: Executor, seconds: float) -> dict[int, float]:
        """Examples a second, by batch size, as far as the time goes."""
        runs: dict[int, float] = {}  # the quickest of each size, in seconds
        if not self._probes:
            return {}
        began = time.perf_counter()
        ends = began + seconds
        sizes = [size for size in BATCH_SIZES if size <= self._wish.max_batch_size]
        if not self._endpoint.batched:
            sizes = [1]
        for size in sizes:
            if time.perf_counter() + 4 * runs.get(size // 2, 0.0) > ends:
                break
            runs[size] = _seconds_a_run(executor, self._batch_of(size))
        round_seconds = time.perf_counter() - began
        for _ in range(ROUNDS - 1):
            if time.perf_counter() + round_seconds > ends:
                break
            for size in runs:
                runs[size] = min(runs[size], _seconds_a_run(executor, self._batch_of(size)))
        return {size: size * executor.lanes / run for size, run in runs.items()}

    def _batch_of(self, size: int) -> Tensors:
        if size == 1:
            return self._probes[0]
        return {name: np.repeat(value, size, axis=0) for name, value in self._probes[0].items()}

    @staticmethod
    def _mean_speed(speeds: Speeds, label: str) -> float:
        """The geometric mean, of the batch sizes that all were measured at: which of them counts
        is the load's matter. Who is ahead at the largest may take thrice as long for one example.
        """
        common = [size for size in speeds[label] if all(size in of for of in speeds.values())]
        return math.exp(sum(math.log(speeds[label][size]) for size in common) / max(1, len(common)))

    @staticmethod
    def _best_speed(speeds: Speeds, label: str) -> float:
        return max(speeds[label].values(), default=0.0)

    def _best_batch_size(self, speeds: dict[int, float]) -> int:
        if not self._endpoint.batched:
            return 1
        if not speeds:
            return self._wish.max_batch_size
        costs = {size: 1 / speed + BATCH_COST_SECONDS / size for size, speed in speeds.items()}
        enough = min(costs.values()) * GOOD_ENOUGH
        return min(size for size, cost in costs.items() if cost <= enough)


def _place(key: str, endpoint: str, wish: Wish) -> str:
    return f"report {RULES} {key} {endpoint} {wish} {sorted(EXECUTORS)} {here()}"


def here() -> str:
    """What the outcome of a measurement hangs on: this processor, and these releases."""
    processor = platform.platform()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        processor = " ".join(sorted(told))
    return f"{processor} {releases()}"


def releases() -> list[str]:
    """Of what reads, converts and computes."""
    found = []
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return found


def _label(executor: Executor) -> str:
    return f"{executor.name} {executor.precision}"


def _difference(value: npt.NDArray[Any] | None, other: npt.NDArray[Any] | None) -> float:
    """The largest; of numbers over 1, relative."""
    if value is None or other is None:
        return np.inf
    if value.shape != other.shape or value.dtype != other.dtype:
        return np.inf
    value, other = value.astype(np.float64), other.astype(np.float64)
    scale = np.maximum(1.0, np.abs(value))
    return float(np.max(np.abs(value - other) / scale, initial=0.0))


def _seconds_a_run(executor: Executor, batch: Tensors) -> float:
    """Of all lanes at once, the quickest run: others only slow it down."""
    with ThreadPoolExecutor(executor.lanes) as lanes:
        return min(lanes.map(lambda _: _quickest(executor, batch), range(executor.lanes)))


def _quickest(executor: Executor, batch: Tensors) -> float:
    executor.run(batch)  # compiles for this shape
    runs: list[float] = []
    while sum(runs) < RUN_SECONDS or len(runs) < 3:
        began = time.perf_counter()
        executor.run(batch)
        runs.append(time.perf_counter() - began)
    return min(runs)
