"""A network -> a version in a model repository, proved before it can be seen.

`export` takes a run's; pipelines/import_weights.py one with other people's weights.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message

from pipelines.artefact import Artefact
from pipelines.explain_endpoint import difference
from pipelines.preprocessing import Preprocessing
from pipelines.run import REPORT, Run, RunError, read_json
from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion
from serving.runtime.decoding import decode
from serving.runtime.executors import EXECUTORS
from serving.runtime.servable import Servable

SCHEMA_VERSION = 1
EXPLAIN_TOLERANCE = 0.05  # of an output's norm: of MobileNetV2's input gradients 0.011 is rounding
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DOMAINS = {
    "audio": manifest_pb2.DOMAIN_AUDIO,
    "image": manifest_pb2.DOMAIN_IMAGE,
    "text": manifest_pb2.DOMAIN_TEXT,
}


class ExportError(Exception):
    """The run cannot be exported; the text says why, and what to do."""


def export(
    run_folder: Path,
    repository: Path,
    name: str | None = None,
    dense: bool = False,
    embed: bool = False,
    explain: bool = False,
) -> Path:
    """Write REPOSITORY/NAME/VERSION, reload it, compare it with Keras, then let it be seen.

    Args:    name: the model's, by default the run folder's; the version is the next number;
             dense: with the endpoint that scores all windows of a larger picture or longer sound;
             embed: with the one that gives embeddings;
             explain: with the one that a server makes maps of evidence of.
    Returns: the version's folder.
    Raises:  RunError if the run is not finished; ExportError if what was written does not
             reproduce Keras's scores within GOLDEN_TOLERANCE, or if the network can have no
             such endpoint. Nothing is left then.
    """
    name = name or run_folder.resolve().name
    check_name(name)
    run = Run.open(run_folder)
    network, inputs = run.trained_model(), run.preprocessing()
    manifest = _manifest(run, name)
    golden = _golden_inputs(run)
    asked = {"dense": dense, "embed": embed, "explain": explain}
    return write_version(network, inputs, golden, manifest, repository, asked)


def check_name(name: str) -> None:
    """Raises ExportError unless it can be a model's name."""
    if not NAME.fullmatch(name):
        raise ExportError(f"{name!r} cannot be a model's name: use letters, digits, '.', '_', '-'")


def write_version(
    network: keras.Model,
    inputs: Preprocessing,
    golden_inputs: Sequence[bytes | str],
    manifest: manifest_pb2.Manifest,
    repository: Path,
    asked: Mapping[str, bool] = MappingProxyType({}),
) -> Path:
    """Write the next version of the manifest's name, reload and compare it, let it be seen.

    Args:    golden_inputs: files' bytes or texts, that prove it wherever it is loaded;
             manifest: where the weights come from, and the labels; the rest is filled in here;
             asked: for which of the optional endpoints (`Artefact`).
    Returns: the version's folder.
    Raises:  as `export`.
    """
    golden = _golden(network, inputs, golden_inputs)
    with _unpublished(repository / manifest.name) as folder:
        artefact = _artefact(network, inputs, manifest.labels, asked)
        artefact.save(folder)
        extra = folder / "assets.extra"
        extra.mkdir()
        _write(extra / "golden.json", golden)
        manifest.schema_version = SCHEMA_VERSION
        manifest.domain = DOMAINS[inputs.domain]
        manifest.input.CopyFrom(inputs.spec())
        manifest.parameters = network.count_params()
        manifest.trainable_parameters = sum(
            int(np.prod(v.shape)) for v in network.trainable_variables
        )
        manifest.created.FromDatetime(datetime.now(UTC))
        manifest.files.extend(_digests(folder))
        _write(extra / "manifest.json", manifest)
        _prove(folder)
        if asked.get("explain"):
            _prove_explain(folder, artefact, golden_inputs)
        return _publish(folder)


def _artefact(
    network: keras.Model, inputs: Preprocessing, labels: Sequence[str], asked: Mapping[str, bool]
) -> Artefact:
    try:
        return Artefact(network, inputs, labels, **asked)
    except ValueError as error:
        names = " and ".join(name for name, on in asked.items() if on)
        raise ExportError(f"not exported with a {names} endpoint: {error}") from error


def _golden_inputs(run: Run) -> list[bytes | str]:
    paths = sorted((run.folder / "golden").glob("[!.]*"))
    if not paths:
        raise RunError(f"{run.folder}/golden is empty: let `triptych train` finish")
    return [p.read_text() if run.domain == "text" else p.read_bytes() for p in paths]


def _golden(
    network: keras.Model, inputs: Preprocessing, items: Sequence[bytes | str]
) -> manifest_pb2.GoldenSet:
    golden = manifest_pb2.GoldenSet()
    for item in items:
        example = inputs.preprocess(decode(item, inputs.spec()))
        logits = network(example[None], training=False)
        if len(logits) != 1:
            raise ExportError(
                f"not exported: of one example the network makes logits of shape"
                f" {tuple(logits.shape)}, where it must make one row: golden scores can't be had"
            )
        scores = keras.ops.softmax(logits)[0].numpy().tolist()
        kind = {"text": item} if isinstance(item, str) else {"data": item}
        golden.examples.add(scores=scores, **kind)
    return golden


def _manifest(run: Run, name: str) -> manifest_pb2.Manifest:
    report = read_json(run.folder / REPORT)
    train = run.config["train"]
    manifest = manifest_pb2.Manifest(
        name=name,
        labels=run.labels,
        dataset=manifest_pb2.Dataset(**run.config["dataset"]),
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
    return manifest


def _digests(folder: Path) -> Iterator[manifest_pb2.FileDigest]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield manifest_pb2.FileDigest(
            path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=digest
        )


def _prove(folder: Path) -> None:
    """What Keras scored, the folder must score, read once, through each executor."""
    servable = None
    try:
        for executor in EXECUTORS:
            if servable is None:
                servable = Servable.load(folder, executor)
            else:
                servable.reopen(executor)
            servable.check_golden()
    except BadVersion as error:
        raise ExportError(
            f"not exported: through {executor}, what was written is not what Keras"
            f" computed: {error}"
        ) from error
    finally:
        if servable is not None:
            servable.close()


def _prove_explain(folder: Path, artefact: Artefact, items: Sequence[bytes | str]) -> None:
    """What Keras says of features and gradients, the folder must say."""
    exported = tf.saved_model.load(str(folder)).signatures["explain"]
    inputs = artefact.preprocessing
    for item in items:
        example = inputs.preprocess(decode(item, inputs.spec())).numpy()
        off = difference(artefact.endpoints["explain"], exported, example)
        if off > EXPLAIN_TOLERANCE:
            raise ExportError(
                f"not exported: the gradients of what was written are not Keras's: {off:.2g} of"
                f" an output's norm is off, and {EXPLAIN_TOLERANCE:g} is allowed"
            )


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
