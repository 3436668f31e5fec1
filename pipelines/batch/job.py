"""A run, from what is asked for to its summary: source, engine and output put together."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import asdict
from time import perf_counter
from typing import Protocol

from pipelines.batch.account import Account
from pipelines.batch.errors import BatchError
from pipelines.batch.events import Started, Summary, Tally, Tell
from pipelines.batch.options import Job
from pipelines.batch.schema import ModelIdentity
from pipelines.batch.shards import Output
from pipelines.batch.sources import open_source
from pipelines.batch.sources.item import Item
from pipelines.batch.storage import is_url


class Engine(Protocol):
    """Known before it is opened: `model`, which takes no time, and `notes` of how it was found."""

    model: ModelIdentity
    notes: tuple[str, ...]
    account: Account

    def open(self, inputs: int) -> None: ...

    def write(self, items: Iterator[Item], output: Output, tally: Tally) -> None:
        """Every shard that is not done yet."""


def run(job: Job, tell: Tell = lambda event: None) -> Summary:
    """
    Raises: BatchError if it cannot begin or go on. What was written stays, and the same job goes
            on from there.
    """
    began = perf_counter()
    if job.heat_maps is not None and _inside(job.heat_maps, job.output):
        raise BatchError(
            f"the heat maps' folder, {job.heat_maps}, is in {job.output}, where readers of rows "
            "take each file for rows: give another one"
        )
    engine = _engine(job)
    model = engine.model
    try:
        source = open_source(job.given, model.domain, job.column, job.root)
        survey = source.survey()
    except OSError as error:
        raise BatchError(f"{job.given} cannot be read: {error.strerror or error}") from error
    inputs = min(survey.inputs, job.limit or survey.inputs)
    if not inputs:
        raise BatchError(f"{job.given} has no inputs that a model of {model.domain} reads")
    manifest = {
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "input": {"given": job.given, "inputs": survey.inputs, "fingerprint": survey.fingerprint},
        "options": asdict(job.rows)
        | {"column": job.column, "limit": job.limit, "shard_inputs": job.shard_inputs}
        | {"format": job.kind},
        "labels": list(model.labels),
    }
    output = Output(job.output, job.kind, manifest, inputs, job.shard_inputs)
    try:
        tally = Tally(job.max_errors, tell)
        for shard in sorted(output.done):
            tally.found(output.counts(shard))
        done = sum(min(job.shard_inputs, inputs - i * job.shard_inputs) for i in output.done)
        tell(Started(model.name, model.version, inputs, done, job.output, engine.notes))
        began_computing = perf_counter()
        if len(output.done) < output.shards:
            engine.open(inputs - done)
            began_computing = perf_counter()
            items = itertools.islice(source.items(), inputs)
            engine.write(items, output, tally)
        ended = perf_counter()
        summary = Summary(
            model=model.name,
            version=model.version,
            output=job.output,
            inputs=inputs,
            labels=dict(tally.labels.most_common()),
            errors=tally.errors,
            first_errors=tuple(tally.first_errors),
            new_inputs=inputs - done,
            seconds=ended - began_computing,
            start_seconds=began_computing - began,
            stage_seconds=engine.account.seconds(),
        )
    finally:
        output.close()
    tell(summary)
    return summary


def _inside(path: str, folder: str) -> bool:
    path, folder = (each if is_url(each) else os.path.realpath(each) for each in (path, folder))
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _engine(job: Job) -> Engine:
    if job.server is not None:
        from pipelines.batch.server_engine import ServerEngine

        return ServerEngine(job)
    if job.engine == "ray":
        from pipelines.batch.ray_engine import RayEngine

        return RayEngine(job)
    from pipelines.batch.local import LocalEngine

    return LocalEngine(job)
