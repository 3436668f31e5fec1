"""From what benchmarks/serving.py measured to the limit L, the shares of it, a table and a plot."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.machine import one_line

GOALS = {"resnet20": 0.75}  # of L, with 32 requests of one image in flight
GOAL = 0.85  # of the other networks
GOAL_OF_MANY = 0.88  # with many images a request, or on a stream
GOAL_ALONE = 1.15  # p50 with one in flight, of the executor's and the empty call's together


def shares(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each network, way and number in flight; a value of each round in its lists."""
    rows: dict[tuple[str, str, int], dict[str, Any]] = {}
    for network, about in measured["networks"].items():
        for done in about["rounds"]:
            for load in done["loads"]:
                key = network, load["way"], load["in_flight"]
                row = rows.setdefault(key, _row(network, load))
                for name, value in _values(done, load, measured["machine"]["cores"]).items():
                    row[name].append(value)
                for code, count in load["errors"].items():
                    row["errors"][code] = row["errors"].get(code, 0) + count
    return list(rows.values())


def _row(network: str, load: dict[str, Any]) -> dict[str, Any]:
    lists = ("inputs_per_second", "p50_ms", "p99_ms", "limit", "share", "times_alone", "cores")
    return {
        "network": network,
        "way": load["way"],
        "in_flight": load["in_flight"],
        "goal": _goal(network, load),
        "errors": {},
    } | {name: [] for name in lists}


def _goal(network: str, load: dict[str, Any]) -> float | None:
    if load["batch"] > 1 or load["stream"]:
        return GOAL_OF_MANY
    if load["in_flight"] == 32:
        return GOALS.get(network, GOAL)
    return GOAL_ALONE if load["in_flight"] == 1 else None


def _values(done: dict[str, Any], load: dict[str, Any], cores: int) -> dict[str, float | None]:
    empty = next(
        one
        for one in done["empty"]
        if one["size"] == load["size"] and one["concurrency"] == load["in_flight"]
    )
    if not empty["requests_per_second"]:
        raise SystemExit("not one empty call was answered in its time: give more --seconds")
    decode = done["decode"]["core_seconds_an_input"] if load["size"] == "file" else 0.0
    call = (empty["client_cores"] + empty["watched_cores"]) / empty["requests_per_second"]
    limit = cores / (done["bare"]["core_seconds_an_input"] + decode + call / load["batch"])
    alone = done["alone"]["p50_ms"] + empty["p50_ms"]
    if load["size"] == "file":
        alone += done["decode"]["p50_ms"]
    one = load["in_flight"] == 1 and load["p50_ms"] is not None
    return {
        "inputs_per_second": load["inputs_per_second"],
        "p50_ms": load["p50_ms"],
        "p99_ms": load["p99_ms"],
        "limit": limit,
        "share": load["inputs_per_second"] / limit,
        "times_alone": load["p50_ms"] / alone if one else None,
        "cores": load["client_cores"] + load["watched_cores"],
    }


def print_report(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(one_line(measured["machine"]), markup=False)
    for network, about in measured["networks"].items():
        console.print()
        console.print(_heading(network, about), markup=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("", "in flight", "inputs/s", "p50 ms", "p99", "of L", "goal"):
            table.add_column(column, justify="left" if not column else "right")
        for row in measured["shares"]:
            if row["network"] == network:
                table.add_row(*_cells(row))
        console.print(table)
    if "shipped" in measured:
        seconds, megabytes = measured["shipped"].values()
        console.print(f"\nThe shipped models, warm: ready in {seconds:.1f} s, {megabytes:.0f} MB")
    console.print(
        "\nMedian (least to most) of the rounds. of L: of the limit; with 1 in flight instead p50 "
        "as so many times the executor's and an empty call's together (files: and decoding's)."
    )


def _heading(network: str, about: dict[str, Any]) -> str:
    rounds = about["rounds"]
    bare = _spread([done["bare"]["inputs_per_second"] for done in rounds])
    alone = _spread([done["alone"]["p50_ms"] for done in rounds], 2)
    decode = _spread([done["decode"]["p50_ms"] for done in rounds], 2)
    lines = [
        f"{network}: {about['executor']} {about['precision']}, {about['lanes']} lanes; ready in "
        f"{about['ready_seconds']:.1f} s, {about['resident_mb']:.0f} MB",
        f"  executor alone: {bare}/s in batches of {rounds[0]['bare']['batch']} (the server's: "
        f"{about['best_batch_size']}); {alone} ms for one, decoding {decode} ms",
    ]
    for size in dict.fromkeys(one["size"] for one in rounds[0]["empty"]):
        calls = [one for done in rounds for one in done["empty"] if one["size"] == size]
        for in_flight in sorted({one["concurrency"] for one in calls}):
            some = [one for one in calls if one["concurrency"] == in_flight]
            rate = _spread([one["requests_per_second"] for one in some])
            lines.append(f"  empty call as {size}, {in_flight} in flight: {rate}/s")
    computing = _spread([done["computing"]["p50_ms"] for done in rounds], 2)
    times = _spread([_times_alone(done) for done in rounds], 2)
    lines.append(f"  a call that only computes: {computing} ms, {times}x of both")
    return "\n".join(lines)


def _times_alone(done: dict[str, Any]) -> float:
    """Of a call that only computes, as `_values` has it of the server's."""
    empty = min(one["p50_ms"] for one in done["empty"] if one["concurrency"] == 1)
    times: float = done["computing"]["p50_ms"] / (done["alone"]["p50_ms"] + empty)
    return times


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    alone = [value for value in row["times_alone"] if value is not None]
    if alone:
        reached, goal = f"{_spread(alone, 2)}x", f"{row['goal']:.2f}x"
    else:
        reached = f"{_spread([100 * share for share in row['share']])} %"
        goal = f"{row['goal']:.0%}" if row["goal"] else ""
    errors = f" ({sum(row['errors'].values())} errors)" if row["errors"] else ""
    return (
        row["way"] + errors,
        str(row["in_flight"]),
        _spread(row["inputs_per_second"]),
        _median(row["p50_ms"]),
        _median(row["p99_ms"]),
        reached,
        goal,
    )


def _spread(values: list[float], digits: int | None = None) -> str:
    """The median and, where there is more than one, how far they lie apart."""
    middle = statistics.median(values)
    if digits is None:
        digits = 0 if middle >= 20 else 1 if middle >= 2 else 2
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def _median(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _three_digits(statistics.median(known)) if known else "-"


def plot(measured: dict[str, Any], path: Path) -> None:
    """Images a second of each way, as a share of the limit, over what is in flight."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    networks = list(measured["networks"])
    figure, axes = plt.subplots(
        1, len(networks), figsize=(3.4 * len(networks), 3.6), sharey=True, squeeze=False
    )
    for axis, network in zip(axes[0], networks, strict=True):
        rows = [row for row in measured["shares"] if row["network"] == network]
        for way in dict.fromkeys(row["way"] for row in rows):
            points = [row for row in rows if row["way"] == way]
            middle = [statistics.median(row["share"]) * 100 for row in points]
            least = [min(row["share"]) * 100 for row in points]
            most = [max(row["share"]) * 100 for row in points]
            below = [m - low for m, low in zip(middle, least, strict=True)]
            above = [high - m for m, high in zip(middle, most, strict=True)]
            axis.errorbar(
                [row["in_flight"] for row in points],
                middle,
                yerr=(below, above),
                marker="o",
                markersize=4,
                capsize=3,
                linewidth=1.2,
                label=way,
            )
        axis.axhline(100, color="black", linewidth=0.8, linestyle="--")
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 4, 8, 32], ["1", "4", "8", "32"])
        axis.set_title(network, fontsize=10)
        axis.set_xlabel("requests in flight")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("% of the limit L")
    axes[0][0].set_ylim(0, 110)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(one_line(measured["machine"]), fontsize=8)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
