"""What a version folder says of itself, read and checked: manifest, digests, golden inputs.

Loading and running what it describes is `serving.runtime.servable`'s matter.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion

SCHEMA_VERSION = 1
SAVED_MODEL = "saved_model.pb"
MANIFEST = "assets.extra/manifest.json"
GOLDEN = "assets.extra/golden.json"

M = TypeVar("M", bound=Message)


def read_manifest(folder: Path) -> manifest_pb2.Manifest:
    """Raises: BadVersion if there is none, or none that this code knows."""
    manifest = _read(folder, MANIFEST, manifest_pb2.Manifest())
    if manifest.schema_version != SCHEMA_VERSION:
        raise BadVersion(
            f"{MANIFEST} is of schema {manifest.schema_version}, and {SCHEMA_VERSION} is the one "
            "that is known here: export the model again with the release that serves it"
        )
    if not manifest.labels:
        raise BadVersion(f"{MANIFEST} has no labels: export the model again")
    return manifest


def verify_files(folder: Path, manifest: manifest_pb2.Manifest) -> None:
    """Raises: BadVersion, naming the first file that is not what was exported."""
    for declared in manifest.files:
        parts = PurePosixPath(declared.path)
        if parts.is_absolute() or ".." in parts.parts:
            raise BadVersion(
                f"{MANIFEST} names a file outside of its folder, {declared.path!r}: "
                "export the model again"
            )
        try:
            with (folder / declared.path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadVersion(
                f"{declared.path} cannot be read: {error.strerror}. Copy the version again"
            ) from error
        if digest != declared.sha256:
            raise BadVersion(
                f"{declared.path} is not the file that was exported (its SHA-256 is another): "
                "copy the version again"
            )
    unnamed = {SAVED_MODEL, GOLDEN} - {file.path for file in manifest.files}
    if unnamed:
        raise BadVersion(
            f"{MANIFEST} has no digest of {', '.join(sorted(unnamed))}: export the model again"
        )


def read_golden(folder: Path) -> list[manifest_pb2.GoldenExample]:
    """Raises: BadVersion if there is not one golden input."""
    golden = _read(folder, GOLDEN, manifest_pb2.GoldenSet())
    if not golden.examples:
        raise BadVersion(
            f"{GOLDEN} has no examples, so nothing shows that this is the model that was trained: "
            "export it again"
        )
    return list(golden.examples)


def artefact_digest(manifest: manifest_pb2.Manifest) -> str:
    """Of graph and weights: versions that compute the same have the same, whatever their number."""
    return digest_of({file.path: file.sha256 for file in manifest.files})


def digest_of(digests: Mapping[str, str]) -> str:
    """One SHA-256 of many: path -> SHA-256 of the file there."""
    return hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()


def _read(folder: Path, path: str, message: M) -> M:
    try:
        # A later schema may have other fields; its number is what decides.
        return json_format.Parse((folder / path).read_bytes(), message, ignore_unknown_fields=True)
    except OSError as error:
        raise BadVersion(
            f"{path} cannot be read: {error.strerror}. `triptych export` writes version folders"
        ) from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BadVersion(
            f"{path} is no {message.DESCRIPTOR.name}: {error}. Copy or export the version again"
        ) from error


def fingerprint(folder: Path, manifest: manifest_pb2.Manifest | None) -> str:
    """Of graph and weights: the manifest has the digests, or the files themselves are read."""
    if manifest is not None:
        return artefact_digest(manifest)
    digests = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        digests[path.relative_to(folder).as_posix()] = digest
    return digest_of(digests)
