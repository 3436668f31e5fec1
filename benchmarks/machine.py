"""What a benchmark ran on, and with."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from serving.runtime.threads import thread_budget

PACKAGES = ("triptych", "grpcio", "numpy", "openvino", "tensorflow-cpu", "protobuf")
ABILITIES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def machine() -> dict[str, Any]:
    described = {"processor": platform.processor(), "abilities": []}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n") if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        flags = fields.get("flags", "").split()
        described = {
            "processor": fields.get("model name", described["processor"]),
            "abilities": [name for name in ABILITIES if name in flags],
        }
    return described | {
        "cores": thread_budget(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def one_line(described: dict[str, Any]) -> str:
    abilities = ", ".join(described["abilities"])
    return (
        f"{described['processor']}, {described['cores']} cores ({abilities}), "
        f"{described['memory_gb']:g} GB, Python {described['python']}"
    )
