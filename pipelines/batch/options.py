"""What a run is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import platformdirs

from serving.runtime.decoding import DEFAULT_LIMITS, Limits

SHARD_INPUTS = 2000


@dataclass(frozen=True)
class Rows:
    """What changes rows, and so has to be the same where a run goes on.

    window, hop: seconds of a sound, tokens of a text.
    """

    top_k: int = 5
    all_scores: bool = False
    embed: bool = False
    window: float | None = None
    hop: float | None = None
    with_events: bool = False
    tiles: bool = False
    dense: bool = False


@dataclass(frozen=True)
class Machine:
    """How they are computed; the rows are the same.

    threads: of this machine; processes: that share them, 1: this one itself, None: others for a
    long run, as many as the model's speed asks for; actors: of Ray.
    """

    threads: int | None = None
    processes: int | None = None
    actors: int | None = None
    batch_size: int | None = None
    executor: str = "auto"
    precision: str = "f32"
    measure_seconds: float = 2.0
    cache: Path | None = field(default_factory=lambda: platformdirs.user_cache_path("triptych"))
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True)
class Job:
    """
    model: a folder, or a name in `repository`, or of `server` ("HOST:PORT").
    given, output: INPUT and OUTPUT of the command line, paths or URLs.
    limit: of inputs, the first; max_errors: in this run, before it ends.
    heat_maps: a folder, path or URL, for a picture of each input's windows.
    """

    model: str
    given: str
    output: str
    repository: Path = Path("model_repository")
    kind: str = "parquet"
    column: str | None = None
    root: str | None = None
    limit: int | None = None
    shard_inputs: int = SHARD_INPUTS
    max_errors: int | None = None
    rows: Rows = Rows()
    heat_maps: str | None = None
    machine: Machine = field(default_factory=Machine)
    engine: Literal["local", "ray"] = "local"
    server: str | None = None
