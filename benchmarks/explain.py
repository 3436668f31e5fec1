"""What explanations cost those who classify, and how long one takes.

    python -m benchmarks.explain                                      # some five minutes
    python -m benchmarks.explain --networks resnet20 --rounds 1 --seconds 2

In turn, the 99th percentile of Classify, with 1 and 8 files in flight, without and with two
explanations always in flight: the second should be within 1.5 times the first. Then each method
alone. Server and both load generators are processes of their own, on one machine.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import platformdirs

from benchmarks.machine import machine, one_line
from benchmarks.networks import files, publish
from benchmarks.processes import Child
from benchmarks.triptych_server import TriptychServer
from serving.runtime.explanation import METHODS

NETWORKS = "resnet20,mobilenet_v2"  # both can have all methods
IN_FLIGHT = (1, 8)
EXPLANATIONS = 2  # in flight
WARM_UP_SECONDS = 1.0
STARTING_SECONDS = 20.0  # the process is started, and loads TensorFlow and the model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument(
        "--cache", type=Path, default=platformdirs.user_cache_path("triptych-bench") / "explain"
    )
    parser.add_argument("--json", type=Path, help="write the numbers there")
    given = parser.parse_args()
    measured: dict[str, Any] = {"machine": machine(), "networks": {}}
    print(one_line(measured["machine"]))
    for network in given.networks.split(","):
        found = run(network, given.rounds, given.seconds, given.cache)
        measured["networks"][network] = found
        report(network, found)
    if given.json:
        given.json.write_text(json.dumps(measured, indent=1))


def run(network: str, rounds: int, seconds: float, cache: Path) -> dict[str, Any]:
    """Returns: in flight -> what each round found; method -> the load of it alone."""
    repository, logs = cache / "repositories" / network, cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    publish(repository, [network])
    inputs = [str(path.resolve()) for path in files(network, cache / "inputs")]
    with ExitStack() as stack:
        server = stack.enter_context(
            TriptychServer(repository, cache / "triptych", logs / "serve.log")
        )
        classifying, explaining = (
            stack.enter_context(Child("benchmarks.load", logs / f"{name}.log"))
            for name in ("classify", "explain")
        )
        threads = stack.enter_context(ThreadPoolExecutor(1))
        asked = {"server": server.server, "model": network, "files": inputs}
        terms = {"seconds": seconds, "warm_up_seconds": WARM_UP_SECONDS}

        def explain(method: str, concurrency: int, **terms: float) -> dict[str, Any]:
            return explaining.ask(
                kind="explain", method=method, concurrency=concurrency, **asked, **terms
            )

        explain("grad-cam", 1, seconds=seconds, warm_up_seconds=STARTING_SECONDS)
        found: dict[str, Any] = {"classify": {str(n): [] for n in IN_FLIGHT}, "methods": {}}
        for turn in range(rounds):
            print(f"{network}, round {turn + 1} of {rounds}", file=sys.stderr)
            for n in IN_FLIGHT:
                load = {"kind": "triptych", "concurrency": n, **asked, **terms}
                without = classifying.ask(**load)
                # It begins before, and ends after.
                longer = {"seconds": seconds + WARM_UP_SECONDS, "warm_up_seconds": 0.0}
                meanwhile = threads.submit(explain, "grad-cam", EXPLANATIONS, **longer)
                beside = classifying.ask(**load)
                found["classify"][str(n)].append(
                    {"without": without, "with": beside, "explained": meanwhile.result()}
                )
        for method in METHODS:
            found["methods"][method] = explain(method, 1, **terms)
    return found


def report(network: str, found: dict[str, Any]) -> None:
    """Medians over the rounds."""
    print(f"\n{network}: Classify, and {EXPLANATIONS} explanations in flight beside it")
    print("in flight   p50 ms without, with   p99 ms without, with   ratio   explained a second")
    for n, rounds in found["classify"].items():
        each = {
            (side, key): median(one[side][key] for one in rounds)
            for side in ("without", "with")
            for key in ("p50_ms", "p99_ms")
        }
        ratio = median(one["with"]["p99_ms"] / one["without"]["p99_ms"] for one in rounds)
        speed = median(one["explained"]["requests_per_second"] for one in rounds)
        times = "".join(
            f"{each['without', key]:12.1f} {each['with', key]:9.1f} "
            for key in ("p50_ms", "p99_ms")
        )
        print(f"{n:>9} {times}{ratio:10.2f} {speed:20.1f}")
        errors = [one[side]["errors"] for one in rounds for side in ("without", "with")]
        if any(errors):
            print(f"          errors: {errors}")
    print("\none explanation, nobody classifies   p50 ms    p99 ms")
    for method, load in found["methods"].items():
        print(f"{method:35} {load['p50_ms']:8.1f} {load['p99_ms']:9.1f}  {load['errors'] or ''}")


if __name__ == "__main__":
    main()
