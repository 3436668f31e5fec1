"""A run's folder -> a version in a model repository, proved before it can be seen."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message

from pipelines.artefact import Artefact
from pipelines.examples import Example, decoded
from pipelines.preprocessing import Preprocessing
from pipelines.run import REPORT, Run, RunError, read_json
from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion
from serving.runtime.executors import EXECUTORS
from serving.runtime.servable import Servable

SCHEMA_VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DOMAINS = {
    "audio": manifest_pb2.DOMAIN_AUDIO,
    "image": manifest_pb2.DOMAIN_IMAGE,
    "text": manifest_pb2.DOMAIN_TEXT,
}


class ExportError(Exception):
    """The run cannot be exported; the text says why, and what to do."""


def export(run_folder: Path, repository: Path, name: str | None = None) -> Path:
    """Write REPOSITORY/NAME/VERSION, reload it, compare it with Keras, then let it be seen.

    Args:    name: the model's, by default the run folder's; the version is the next number.
    Returns: the version's folder.
    Raises:  RunError if the run is not finished; ExportError if what was written does not
             reproduce Keras's scores within GOLDEN_TOLERANCE. Nothing is left then.
    """
    name = name or run_folder.resolve().name
    if not NAME.fullmatch(name):
        raise ExportError(f"{name!r} cannot be a model's name: use letters, digits, '.', '_', '-'")
    run = Run.open(run_folder)
    model = run.trained_model()
    inputs = run.preprocessing()
    with _unpublished(repository / name) as folder:
        Artefact(model, inputs, run.labels).save(folder)
        extra = folder / "assets.extra"
        extra.mkdir()
        _write(extra / "golden.json", _golden(run, model, inputs))
        manifest = _manifest(run, name, model, inputs)
        manifest.files.extend(_digests(folder))
        _write(extra / "manifest.json", manifest)
        _prove(folder)
        return _publish(folder)


def _golden(run: Run, model: keras.Model, inputs: Preprocessing) -> manifest_pb2.GoldenSet:
    golden = manifest_pb2.GoldenSet()
    paths = sorted((run.folder / "golden").glob("[!.]*"))
    if not paths:
        raise RunError(f"{run.folder}/golden is empty: let `triptych train` finish")
    for path in paths:
        data = path.read_bytes()
        text = data.decode() if run.domain == "text" else None
        value = decoded(Example(path if text is None else text, 0), inputs.spec())
        logits = model(inputs.preprocess(value)[None], training=False)
        scores = keras.ops.softmax(logits)[0].numpy().tolist()
        kind = {"data": data} if text is None else {"text": text}
        golden.examples.add(scores=scores, **kind)
    return golden


def _manifest(
    run: Run, name: str, model: keras.Model, inputs: Preprocessing
) -> manifest_pb2.Manifest:
    report = read_json(run.folder / REPORT)
    train = run.config["train"]
    manifest = manifest_pb2.Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        domain=DOMAINS[run.domain],
        input=inputs.spec(),
        labels=run.labels,
        dataset=manifest_pb2.Dataset(**run.config["dataset"]),
        parameters=model.count_params(),
        trainable_parameters=sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        library_versions=report["versions"],
        command=run.config["command"],
        seed=train["seed"],
    )
    manifest.architecture.name = train["model"]
    manifest.architecture.options.update(run.options)
    manifest.measures.add(
        name="accuracy",
        value=report["test_accuracy"],
        split="test",
        examples=report["test_examples"],
        command=report["command"],
    )
    manifest.created.FromDatetime(datetime.now(UTC))
    return manifest


def _digests(folder: Path) -> Iterator[manifest_pb2.FileDigest]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield manifest_pb2.FileDigest(
            path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=digest
        )


def _prove(folder: Path) -> None:
    """What Keras scored, the folder must score, through each executor."""
    for executor in EXECUTORS:
        try:
            servable = Servable.load(folder, executor)
            try:
                servable.check_golden()
            finally:
                servable.close()
        except BadVersion as error:
            raise ExportError(
                f"not exported: through {executor}, what was written is not what Keras"
                f" computed: {error}"
            ) from error


def _write(path: Path, message: Message) -> None:
    path.write_text(json_format.MessageToJson(message, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def _unpublished(model_folder: Path) -> Iterator[Path]:
    """A folder that no server looks at, gone afterwards unless it was published."""
    model_folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=model_folder))
    folder.chmod(0o755)  # mkdtemp's 0700 would keep a server of another user out
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path) -> Path:
    """Rename to the next free version; two exports at once get two numbers."""
    model_folder = folder.parent
    while True:
        taken = [int(p.name) for p in model_folder.iterdir() if p.name.isdecimal()]
        target = model_folder / str(max(taken, default=0) + 1)
        try:
            os.rename(folder, target)
        except OSError:
            if not target.exists():
                raise
            continue
        return target
