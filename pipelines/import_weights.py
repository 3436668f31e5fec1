"""Other people's weights -> a version in a model repository, with the labels they belong to."""

import hashlib
import io
import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageDraw

import models
from models.weights import keras_applications, torch_file, torch_state
from models.weights.carry import WeightsError
from models.weights.donor import Donor
from pipelines.datasets import cifar10
from pipelines.export import check_name, write_version
from pipelines.preprocessing.image import ImagePreprocessing
from protos.triptych.v1 import manifest_pb2

IMAGENET = "imagenet"  # in place of a file: Keras downloads it
PACKAGES = ("triptych", "keras", "numpy")
GOLDEN_INPUTS = 4


def import_weights(
    architecture: str,
    weights: str,
    repository: Path,
    name: str | None = None,
    labels: str | None = None,
) -> Path:
    """Carry the weights over, and write REPOSITORY/NAME/VERSION as an export does.

    Args:    architecture: of `models.list_models()`; weights: a file of Keras or PyTorch, told
             apart by its suffix, or "imagenet"; name: by default the architecture's;
             labels: "imagenet", "cifar10", "ids" (the numbers themselves), or a file with one a
             line, or a JSON list or class index; by default those of the published weights.
    Returns: the version's folder.
    Raises:  WeightsError, ExportError or OSError, that say what to do.
    """
    name = name or architecture
    check_name(name)
    path = Path(weights)
    torch = path.suffix in torch_file.SUFFIXES
    donor = _donor(architecture, weights)
    origin = weights if weights == IMAGENET else f"{path.name}, SHA-256 {_sha256(path)}"
    if torch:
        state = torch_file.read(path)
        texts = read_labels(labels or donor.labels, torch_state.class_count(state, donor))
        network = build(architecture, len(texts), donor)
        torch_state.carry_state(network, state, donor)
    else:
        texts = read_labels(labels or donor.labels, None)
        network = build(architecture, len(texts), donor)
        application = keras_applications.build(donor, weights, len(texts))
        keras_applications.carry_application(network, application, donor)
    manifest = manifest_pb2.Manifest(
        name=name,
        labels=texts,
        dataset=manifest_pb2.Dataset(name="imported weights", source=origin),
        library_versions={package: version(package) for package in PACKAGES},
        command=f"triptych models import {architecture} --weights {weights}"
        + (f" --labels {labels}" if labels else ""),
    )
    manifest.architecture.name = architecture
    manifest.architecture.options.update(donor.options)
    inputs = ImagePreprocessing(donor.size, donor.size, **donor.preprocessing)
    pictures = [drawn_picture(seed, donor.size) for seed in range(GOLDEN_INPUTS)]
    return write_version(network, inputs, pictures, manifest, repository)


def build(architecture: str, num_classes: int, donor: Donor) -> keras.Model:
    """Our network in the donor's form, its weights still random."""
    network = models.create_model(architecture, num_classes, **donor.options)
    network(keras.KerasTensor((1, donor.size, donor.size, 3)))
    return network


def _donor(architecture: str, weights: str) -> Donor:
    torch, keras_ = torch_state.DONORS, keras_applications.DONORS
    suffix = Path(weights).suffix
    if suffix in torch_file.SUFFIXES:
        kind, donors = "PyTorch's", torch
    elif weights == IMAGENET or suffix in keras_applications.SUFFIXES:
        kind, donors = "Keras's", keras_
    else:
        known = ", ".join((*torch_file.SUFFIXES, *keras_applications.SUFFIXES))
        raise WeightsError(f"--weights {weights}: name a file ({known}), or {IMAGENET}")
    if architecture not in donors:
        raise WeightsError(
            f"no table carries {kind} weights into {architecture!r}; there are tables for"
            f" {', '.join(sorted(donors))}"
        )
    return donors[architecture]


def read_labels(labels: str, count: int | None) -> list[str]:
    """The texts of class_id 0, 1, ...

    Args:    labels: as of `import_weights`; count: how many the weights have, if that is known.
    Raises:  WeightsError if there are not as many; OSError.
    """
    if labels == "ids":
        texts = [str(number) for number in range(count or 1000)]
    elif labels == "cifar10":
        texts = list(cifar10.LABELS)
    elif labels == "imagenet":
        texts = _imagenet_labels()
    else:
        texts = _labels_of_file(Path(labels))
    if count not in (None, len(texts)):
        raise WeightsError(
            f"the weights tell {count} classes apart, and {labels} has {len(texts)} labels: name"
            " a file with theirs by --labels, or take their numbers by --labels ids"
        )
    return texts


def _imagenet_labels() -> list[str]:
    try:
        # Each row's best is its own class: so Keras gives all names, and where it has them from.
        rows = keras.applications.imagenet_utils.decode_predictions(np.eye(1000), top=1)
    except Exception as error:  # a bare Exception is what Keras's download raises
        raise WeightsError(
            f"the ImageNet class names cannot be downloaded ({error}): name a file with them by"
            " --labels (Keras's imagenet_class_index.json will do), or take --labels ids"
        ) from error
    return _unambiguous([(wordnet_id, text) for ((wordnet_id, text, _),) in rows])


def _labels_of_file(path: Path) -> list[str]:
    text = path.read_text()
    if path.suffix != ".json":
        texts = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        try:
            content = json.loads(text)
            if isinstance(content, dict):  # Keras's: {"0": ["n01440764", "tench"], ...}
                content = [content[str(number)] for number in range(len(content))]
            if content and all(isinstance(row, list) for row in content):
                content = _unambiguous([(row[0], row[1]) for row in content])
            texts = [str(label) for label in content]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise WeightsError(
                f"{path} is neither a JSON list of labels nor a class index: {error!r}"
            ) from error
    if not texts:
        raise WeightsError(f"{path} holds no labels")
    return texts


def _unambiguous(rows: list[tuple[str, str]]) -> list[str]:
    """ImageNet has two cranes and two maillots; those keep their WordNet number."""
    times = Counter(text for _, text in rows)
    return [f"{text} {number}" if times[text] > 1 else text for number, text in rows]


def drawn_picture(seed: int, size: int) -> bytes:
    """A PNG of shapes on a ramp, a little wider than the network's input; the same each time."""
    rng = np.random.default_rng(seed)
    height, width = size + size // 4, size + size // 3
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    image = Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        (left, right), (top, bottom) = np.sort(rng.integers(0, (width, height), (2, 2)), axis=0).T
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(
            [int(x) for x in (left, top, right, bottom)],
            fill=tuple(rng.integers(0, 256, 3).tolist()),
        )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
