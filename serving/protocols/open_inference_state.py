"""What models do and have done, as the Open Inference Protocol tells it: index and statistics.

As dicts with the fields' names: gRPC makes messages of them, and HTTP sends them as they are.
"""

from collections.abc import Mapping
from typing import Any

from serving.engine import Engine
from serving.errors import TriptychError
from serving.manager import Manager
from serving.protocols.open_inference_call import Unsupported
from serving.statistics import Duration, VersionStatistics
from serving.version_policy import State
from serving.watcher import IndexEntry, Watcher

STATES = {
    State.NEW: "UNAVAILABLE",
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.QUIESCING: "UNLOADING",
    State.UNLOADING: "UNLOADING",
    State.DISABLED: "UNAVAILABLE",
    State.FAILED: "UNAVAILABLE",
}
REFUSED_OVERRIDE = (
    "loading with a 'config' or with files is refused, as what a client sends never becomes a "
    "model: put the version into the server's repository as NAME/VERSION/ and its settings into "
    "NAME/model.toml, and load the model without parameters"
)


def index(watcher: Watcher, *, only_ready: bool) -> list[dict[str, str]]:
    return [
        {
            "name": entry.name,
            "version": str(entry.version),
            "state": STATES[entry.state],
            "reason": _reason(entry),
        }
        for entry in watcher.index()
        if entry.state is State.READY or not only_ready
    ]


async def load(watcher: Watcher, model: str, parameters: Mapping[str, object]) -> None:
    """Raises: Unsupported for any parameter; what `Watcher.load` does, in Triton's words."""
    if parameters:
        raise Unsupported(REFUSED_OVERRIDE)
    try:
        await watcher.load(model)
    except TriptychError as error:
        raise type(error)(f"failed to load '{model[:100]}', {error}") from error


async def unload(watcher: Watcher, model: str) -> None:
    """Raises: what `Watcher.unload` does, in Triton's words."""
    try:
        await watcher.unload(model)
    except TriptychError as error:
        raise type(error)(f"failed to unload '{model[:100]}', {error}") from error


def ready_versions(manager: Manager, model: str) -> list[int]:
    """Raises: ModelNotFound."""
    return [n for n, status in manager.status(model).items() if status.state is State.READY]


def statistics(
    engine: Engine, manager: Manager, model: str, version: int | None
) -> list[dict[str, Any]]:
    """Of the versions that are ready: of one, of one model's, or of all if `model` is empty."""
    told = []
    for name in [model] if model else manager.models():
        known = engine.statistics(name)
        for number in ready_versions(manager, name):
            if version in (None, number):
                told.append(_statistics(name, number, known.get(number) or VersionStatistics()))
    return told


def _statistics(name: str, version: int, counted: VersionStatistics) -> dict[str, Any]:
    return {
        "name": name,
        "version": str(version),
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.inference_count,
        "execution_count": counted.execution_count,
        "inference_stats": {
            "success": _duration(counted.success),
            "fail": _duration(counted.fail),
            "queue": _duration(counted.queue),
            "compute_input": _duration(counted.compute_input),
            "compute_infer": _duration(counted.compute_infer),
            "compute_output": _duration(counted.compute_output),
            "cache_hit": _duration(Duration()),
            "cache_miss": _duration(Duration()),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(Duration(duration.count)),
                "compute_infer": _duration(duration),
                "compute_output": _duration(Duration(duration.count)),
            }
            for rows, duration in sorted(counted.batches.items())
        ],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def _reason(entry: IndexEntry) -> str:
    return entry.reason or ("unloaded" if entry.state is State.DISABLED else "")
