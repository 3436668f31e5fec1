"""How close to the machine's limit `triptych batch` is, and how far others are, on the same files.

    python -m benchmarks.batch                                   # about an hour
    python -m benchmarks.batch --networks resnet20 --rounds 1 --seconds 2
    python -m benchmarks.batch --memory 200000                   # the most that a long run holds

Each round measures, one after another and in processes of their own: executor and decoder
alone; `triptych batch` over JPEG files of the network's own size; tf.data with keras.Model.predict;
Ray Data with the plain SavedModel. Starting up is apart, in all of them; as further processes of
`triptych batch` start while it computes, its rate is that of the second half of its inputs, and
that of all beside it. The limit is

    L = cores / (core-seconds an input of the bare executor + of the bare decoder)
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import platformdirs

from benchmarks.machine import machine, one_line
from benchmarks.memory import Watch
from benchmarks.networks import publish, side
from benchmarks.processes import Child
from triptych.loadgen.examples import jpeg

NETWORKS = "mobilenet_v2,resnet20"
GOALS = {"mobilenet_v2": 0.92, "resnet20": 0.85}  # of L
GOAL_OVER_PEERS = 1.5
PEERS = ("tfdata", "ray")
NAMES = {
    "triptych": "triptych batch",
    "tfdata": "tf.data, Model.predict",
    "ray": "Ray Data, SavedModel",
}
FILES = 256  # that differ; a list names them again and again
FEWEST = 256  # inputs of a run
MEGABYTE = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=75.0, help="of each run, about")
    parser.add_argument("--peers", default=",".join(PEERS), help="none: leave them out")
    parser.add_argument("--memory", type=int, metavar="N", help="only: N inputs of resnet20")
    parser.add_argument(
        "--cache", type=Path, default=platformdirs.user_cache_path("triptych-bench")
    )
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--out", type=Path, help="draw the plot there, as docs/images/batch.png")
    given = parser.parse_args()
    if given.memory:
        print(json.dumps(_memory(given.cache, given.memory)))
        return
    peers = [peer for peer in given.peers.split(",") if peer in PEERS]
    measured = run(given.networks.split(","), given.rounds, given.seconds, given.cache, peers)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(measured, indent=1))
    print_report(measured)
    if given.out:
        plot(measured, given.out)


def run(
    networks: list[str], rounds: int, seconds: float, cache: Path, peers: list[str]
) -> dict[str, Any]:
    """Returns: what `print_report` takes, and JSON too."""
    (cache / "logs").mkdir(parents=True, exist_ok=True)
    measured: dict[str, Any] = {"machine": machine(), "seconds": seconds, "networks": {}}
    print(one_line(measured["machine"]), file=sys.stderr)
    for network in networks:
        bench = _Bench(network, cache, seconds)
        done = []
        for turn in range(rounds):
            print(f"{network}, round {turn + 1} of {rounds}", file=sys.stderr)
            done.append(bench.round(peers))
        measured["networks"][network] = {"rounds": done}
    return measured


class _Bench:
    def __init__(self, network: str, cache: Path, seconds: float) -> None:
        self._network = network
        self._cache = cache
        self._seconds = seconds
        repository = cache / "repositories" / network
        publish(repository, [network])
        self._folder = repository / network / "1"
        self._files = _pictures(cache / "inputs" / f"batch-{side(network)}", side(network))

    def round(self, peers: list[str]) -> dict[str, Any]:
        bare = self._bare()
        wanted = max(FEWEST, int(bare["limit"] * self._seconds))
        listed = _listed(self._cache / f"{self._network}.lst", self._files, wanted)
        triptych = _batch(self._cache, self._folder, listed)
        # The others need no longer run, as nothing of theirs starts later.
        some = _listed(self._cache / "peers.lst", self._files, max(FEWEST, wanted // 4))
        others = {peer: self._peer(peer, some) for peer in peers}
        return {"bare": bare, "triptych": triptych} | others

    def _bare(self) -> dict[str, Any]:
        """In a process that has ended when the next is measured."""
        cache = self._cache / "triptych"
        arguments = [str(self._folder), str(cache), "auto", "f32", *map(str, self._files[:32])]
        log = self._cache / "logs" / "bare.log"
        with Child("benchmarks.bare", log, *arguments) as child:
            about = child.ask(what="describe")
            speeds = about["speeds"][f"{about['executor']} {about['precision']}"]
            best = int(max(speeds, key=lambda size: speeds[size], default=1))
            seconds = min(5.0, max(1.0, self._seconds / 4))
            compute = child.ask(what="compute", seconds=seconds, batch=best)
            decode = child.ask(what="decode", seconds=seconds)
        cost = compute["core_seconds_an_input"] + decode["core_seconds_an_input"]
        return {"compute": compute, "decode": decode, "limit": machine()["cores"] / cost}

    def _peer(self, peer: str, listed: Path) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.batch_peers", peer, self._network]
        return _run(
            [*command, str(self._folder), str(listed)], self._cache / "logs" / f"{peer}.log"
        )


def _batch(cache: Path, folder: Path, listed: Path) -> dict[str, Any]:
    output = cache / "output"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "triptych", "batch", str(folder), str(listed), str(output)]
    own = {"TRIPTYCH_CACHE": str(cache / "triptych")}
    done = _run([*command, "--root", "/", "--json"], cache / "logs" / "batch.log", own)
    return {key: value for key, value in done.items() if key != "output"}  # a path of this machine


def _run(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Returns: its last line, the most memory that it held, and the rate of its second half."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=os.environ | (environment or {})
        )
        assert process.stdout is not None
        last = b""
        progress = []
        with Watch(process.pid) as watch:
            for line in process.stdout:
                last = line
                if b'"advanced"' in line:
                    progress.append((time.perf_counter(), json.loads(line)["inputs"]))
        process.stdout.close()
    if process.wait():
        raise SystemExit(f"{' '.join(command)}:\n{log.read_text()[-2000:]}")
    found: dict[str, Any] = json.loads(last)
    return found | {"peak_mb": watch.peak_bytes / MEGABYTE} | _later(progress)


def _later(progress: list[tuple[float, int]]) -> dict[str, float]:
    """
    Args: progress: when how many inputs more were done.
    """
    half = sum(inputs for _, inputs in progress) / 2
    done = 0
    for i, (began, inputs) in enumerate(progress):
        done += inputs
        if done >= half and progress[-1][0] > began:
            rest = sum(inputs for _, inputs in progress[i + 1 :])
            return {"later_inputs_per_second": rest / (progress[-1][0] - began)}
    return {}


def _memory(cache: Path, inputs: int) -> dict[str, Any]:
    bench = _Bench("resnet20", cache, 1.0)
    listed = _listed(cache / "memory.lst", bench._files, inputs)
    done = _batch(cache, bench._folder, listed)
    told = ("inputs", "errors", "inputs_per_second", "later_inputs_per_second", "peak_mb")
    return {key: done[key] for key in told}


def _pictures(folder: Path, size: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:04}.jpg" for seed in range(FILES)]
    for seed, path in enumerate(paths):
        if not path.exists():
            path.write_bytes(jpeg(size, size, seed))
    return [path.resolve() for path in paths]


def _listed(path: Path, files: list[Path], inputs: int) -> Path:
    path.write_text("".join(f"{files[i % len(files)]}\n" for i in range(inputs)))
    return path


def _rate(done: dict[str, Any]) -> float:
    rate: float = done.get("later_inputs_per_second", done["inputs_per_second"])
    return rate


def shares(rounds: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Of L, and so many times each of the others; a value of each round."""
    found = {"of L": [_rate(done["triptych"]) / done["bare"]["limit"] for done in rounds]}
    for peer in PEERS:
        if all(peer in done for done in rounds):
            found[peer] = [
                _rate(done["triptych"]) / done[peer]["inputs_per_second"] for done in rounds
            ]
    return found


def print_report(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(one_line(measured["machine"]), markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("network")
    table.add_column("")
    for column in ("inputs/s", "against", "goal", "most MB"):
        table.add_column(column, justify="right")
    for network, about in measured["networks"].items():
        rounds = about["rounds"]
        reached = shares(rounds)
        table.add_row(network, "L", _spread([done["bare"]["limit"] for done in rounds]))
        for way, name in NAMES.items():
            if not all(way in done for done in rounds):
                continue
            speed = _spread([_rate(done[way]) for done in rounds])
            most = f"{max(done[way]['peak_mb'] for done in rounds):,.0f}"
            if way == "triptych":
                against = f"{_spread([100 * share for share in reached['of L']])} % of L"
                goal = f"{GOALS[network]:.0%}" if network in GOALS else ""
            else:
                against = f"{_spread(reached[way], 2)}x slower"
                goal = f"{GOAL_OVER_PEERS}x"
                most = "" if way == "ray" else most  # its workers are not this process's own
            table.add_row("", name, speed, against, goal, most)
            if way == "triptych":
                overall = _spread([done[way]["inputs_per_second"] for done in rounds])
                table.add_row("", "  from its first input on", overall)
    console.print(table)
    console.print("\nMedian (least to most) of the rounds, starting up not counted.")


def plot(measured: dict[str, Any], path: Path) -> None:
    """Inputs a second as a share of L: triptych and the others, each network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    networks = list(measured["networks"])
    ways = [way for way in NAMES if way in measured["networks"][networks[0]]["rounds"][0]]
    width = 0.8 / len(ways)
    for i, way in enumerate(ways):
        shown = [
            [100 * _rate(done[way]) / done["bare"]["limit"] for done in about["rounds"]]
            for about in measured["networks"].values()
        ]
        middle = [statistics.median(values) for values in shown]
        below = [m - min(values) for m, values in zip(middle, shown, strict=True)]
        above = [max(values) - m for m, values in zip(middle, shown, strict=True)]
        places = [place + i * width for place in range(len(networks))]
        axis.bar(places, middle, width, yerr=(below, above), capsize=3, label=NAMES[way])
    axis.axhline(100, color="black", linewidth=0.8, linestyle="--")
    axis.set_xticks([place + 0.4 - width / 2 for place in range(len(networks))], networks)
    axis.set_ylabel("% of the limit L")
    axis.set_title(one_line(measured["machine"]), fontsize=8)
    axis.legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _spread(values: list[float], digits: int = 1) -> str:
    least, most = min(values), max(values)
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({least:,.{digits}f} to {most:,.{digits}f})"


if __name__ == "__main__":
    main()
