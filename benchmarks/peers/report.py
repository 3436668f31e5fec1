"""Tables of what benchmarks/peers measured: each network, each contender, each number in flight."""

import statistics
from typing import Any

from benchmarks.machine import one_line
from benchmarks.peers.catalogue import OURS, PEERS

CONCURRENCY = (1, 8, 32)


def print_report(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(one_line(measured["machine"]), markup=False)
    for name, about in measured["contenders"].items():
        packages = ", ".join(f"{key} {value}" for key, value in about["versions"].items())
        if packages:
            console.print(f"{name}: {packages}", markup=False)
    for network in dict.fromkeys(load["network"] for load in measured["loads"]):
        loads = [load for load in measured["loads"] if load["network"] == network]
        console.print()
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(network)
        for number in CONCURRENCY:
            table.add_column(f"{number} in flight", justify="right")
        table.add_column("p50 ms at 32", justify="right")
        table.add_column("p99", justify="right")
        for name in dict.fromkeys(load["contender"] for load in loads):
            table.add_row(name, *_cells([load for load in loads if load["contender"] == name]))
        console.print(table)
        for line in ratios(loads):
            console.print(line, markup=False)
    console.print("\nimages/s: median (least to most) of the rounds")


def _cells(loads: list[dict[str, Any]]) -> list[str]:
    cells = []
    for number in CONCURRENCY:
        some = [load for load in loads if load["concurrency"] == number]
        rates = [load["inputs_per_second"] for load in some]
        errors = sum(sum(load["errors"].values()) for load in some)
        cells.append(_spread(rates) + (f", {errors} errors" if errors else ""))
    last = [load for load in loads if load["concurrency"] == CONCURRENCY[-1]]
    for key in ("p50_ms", "p99_ms"):
        known = [load[key] for load in last if load[key] is not None]
        cells.append(_three_digits(statistics.median(known)) if known else "-")
    return cells


def ratios(loads: list[dict[str, Any]]) -> list[str]:
    """Of ours, to the best of the peers with as many requests in flight."""
    speeds: dict[tuple[str, int], float] = {}
    for name in dict.fromkeys(load["contender"] for load in loads):
        for number in CONCURRENCY:
            rates = [
                load["inputs_per_second"]
                for load in loads
                if (load["contender"], load["concurrency"]) == (name, number)
            ]
            speeds[name, number] = statistics.median(rates)
    lines = []
    for name in OURS:
        parts = []
        for number in CONCURRENCY:
            others = {n: speed for (n, c), speed in speeds.items() if n in PEERS and c == number}
            best = max(others, key=lambda peer: others[peer], default="")
            if (name, number) in speeds and others.get(best):
                times = speeds[name, number] / others[best]
                parts.append(f"{times:.2f}x {best} at {number}")
        if parts:
            lines.append(f"{name}: {', '.join(parts)}")
    return lines


def _spread(values: list[float]) -> str:
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
