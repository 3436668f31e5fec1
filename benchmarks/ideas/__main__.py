"""Small experiments about the field's claims: docs/ideas.md has what came out.

python -m benchmarks.ideas stacks --data-dir data     # minutes on two cores; or another NAME
python -m benchmarks.ideas --draw                     # all plots anew, from docs/ideas.json
"""

import argparse
import importlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib
from matplotlib.figure import Figure

from benchmarks.machine import machine, one_line

matplotlib.use("Agg")

NAMES = (
    "stacks",
    "cheaper",
    "batch_norm",
    "dropout",
    "heads",
    "depth",
    "pooling",
    "speech",
    "equivariance",
)
DOCS = Path(__file__).parents[2] / "docs"
INCHES = (8, 3.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", choices=NAMES)
    parser.add_argument("--data-dir", type=Path, help="of CIFAR-10 or FSDD; else it is downloaded")
    parser.add_argument("--draw", action="store_true", help="only, what was measured before")
    parser.add_argument("--docs", type=Path, default=DOCS, help="ideas.json, and images/ideas/")
    given = parser.parse_args()
    path = given.docs / "ideas.json"
    measured: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if given.draw:
        for name in filter(measured.get, [given.name] if given.name else NAMES):
            draw(name, measured[name]["rows"], given.docs)
        return
    if not given.name:
        parser.error(f"which one? {', '.join(NAMES)}")
    measured[given.name] = measure(given.name, given.data_dir)
    ordered = {name: measured[name] for name in NAMES if name in measured}
    path.write_text(as_text(ordered))
    draw(given.name, measured[given.name]["rows"], given.docs)


def experiment(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.ideas.{name}")


def measure(name: str, data_dir: Path | None) -> dict[str, Any]:
    from benchmarks.ideas.training import cifar10

    module = experiment(name)
    started = time.monotonic(), time.process_time()
    rows = module.run(getattr(module, "load", cifar10)(data_dir, module.SCALE), module.SCALE)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": one_line(machine()),
        "minutes": round((time.monotonic() - started[0]) / 60, 1),
        "core_minutes": round((time.process_time() - started[1]) / 60, 1),
        "rows": rows,
    }
    print(f"{about['minutes']} minutes, {about['core_minutes']} of cores", file=sys.stderr)
    return about


def as_text(measured: dict[str, Any]) -> str:
    """JSON with a line for each row, so that a change of one shows as one."""
    parts = []
    for name, about in measured.items():
        head = {key: value for key, value in about.items() if key != "rows"}
        rows = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in about["rows"])
        parts.append(f'"{name}": {{{json.dumps(head)[1:-1]}, "rows": [\n{rows}\n]}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def draw(name: str, rows: list[dict[str, Any]], docs: Path) -> Path:
    path = docs / "images" / "ideas" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(INCHES, layout="constrained")
        experiment(name).draw(rows, figure)
        figure.savefig(path, dpi=100)
    return path


if __name__ == "__main__":
    main()
