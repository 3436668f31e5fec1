"""A version -> the next one, with endpoints that it has not: where its run is no more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.explain.errors import ExplainError
from pipelines.explain.network import open_network
from pipelines.export import ExportError, check_name, write_version
from pipelines.preprocessing import AudioPreprocessing, ImagePreprocessing, Preprocessing
from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion
from serving.runtime.manifest import read_golden, read_manifest


def export_again(
    version: Path,
    repository: Path,
    name: str | None = None,
    asked: Mapping[str, bool] | None = None,
) -> Path:
    """Write the next version of the model, of the same weights and preprocessing.

    Args:    name: the model's, by default the version's; asked: as of `write_version`.
    Returns: its folder.
    Raises:  ExportError if the network cannot be built anew, or as `export`.
    """
    try:
        manifest, golden = read_manifest(version), read_golden(version)
        network = open_network(version)
    except (BadVersion, ExplainError) as error:
        raise ExportError(f"{version} cannot be exported again: {error}") from error
    inputs = network.inputs.text or _as_it_was(version, manifest.input)
    check_name(name or manifest.name)
    manifest.name = name or manifest.name
    del manifest.files[:]
    items = [each.text if each.WhichOneof("kind") == "text" else each.data for each in golden]
    # The source, which reads its variables in the order in which it will be opened again.
    return write_version(network.source, inputs, items, manifest, repository, asked or {})


def _as_it_was(version: Path, spec: manifest_pb2.InputSpec) -> Preprocessing:
    """Decodes as all of its kind do, and preprocesses by the version's own endpoint."""
    inputs: Any
    if spec.WhichOneof("kind") == "image":
        image = spec.image
        inputs = ImagePreprocessing(image.height, image.width, image.channels)
    else:
        rate, bands = spec.audio.sample_rate_hz, spec.audio.mel_bands
        inputs = AudioPreprocessing({"sample_rate_hz": rate, "mel_bands": bands})
    endpoint = tf.saved_model.load(str(version)).signatures["preprocess"]
    (argument,) = endpoint.structured_input_signature[1]
    inputs.preprocess = lambda decoded: endpoint(**{argument: decoded})["example"]
    return inputs
