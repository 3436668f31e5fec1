"""A virtual environment for each peer, with pinned packages, made once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MADE = "made-of.txt"


def python_of(folder: Path, requirements: Sequence[str]) -> str:
    """Returns: its interpreter. Raises: SystemExit if the packages cannot be installed."""
    if not requirements:
        return sys.executable
    python = folder / "bin" / "python"
    wanted = "\n".join([*requirements, sys.version.split()[0]])
    made = folder / MADE
    if made.exists() and made.read_text() == wanted:
        return str(python)
    print(f"installing {', '.join(requirements)}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv") or (".uv/bin/uv" if Path(".uv/bin/uv").exists() else None)
    if uv:
        _run([uv, "venv", "--quiet", "--python", _system_python(), str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), *requirements])
    else:
        _run([_system_python(), "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements])
    made.write_text(wanted)
    return str(python)


def versions(python: str) -> dict[str, str]:
    """Of all packages that are installed there."""
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(answer.stdout)
    return {name.lower().replace("_", "-"): version for name, version in found.items()}


def _system_python() -> str:
    """Of this release, and the system's where it has one: Triton loads its shared library."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return shutil.which(name, path=os.defpath) or sys.executable


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-2000:]}")
