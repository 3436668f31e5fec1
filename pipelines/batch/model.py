"""MODEL on the command line -> a version's folder and what it is, and then the version, loaded."""

from pathlib import Path
from typing import NamedTuple

from pipelines.batch.errors import BatchError
from pipelines.batch.schema import ModelIdentity
from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion
from serving.runtime.cache import Cache
from serving.runtime.decoding import Limits
from serving.runtime.manifest import (
    MANIFEST,
    SAVED_MODEL,
    artefact_digest,
    read_manifest,
    verify_files,
)
from serving.runtime.opening import Wish
from serving.runtime.servable import Servable


class Version(NamedTuple):
    """notes: of newer versions that are not whole, and why."""

    folder: Path
    identity: ModelIdentity
    notes: tuple[str, ...]


def find_version(model: str, repository: Path) -> Version:
    """Quick, as nothing is loaded.

    Args:   model: a version's folder, a model's folder, or a name in the repository, of which the
            newest version is taken whose files are all there and as they were exported.
    Raises: BatchError if there is none.
    """
    notes: list[str] = []
    for folder in _versions(model, repository):
        try:
            if not (folder / MANIFEST).exists():
                raise BadVersion(
                    "it was not exported by triptych, so it has no labels and no decoding: "
                    "`triptych export` writes both"
                )
            manifest = read_manifest(folder)
            verify_files(folder, manifest)
        except BadVersion as error:
            notes.append(f"{folder} is not used: {error}")
            continue
        number = int(folder.name) if folder.name.isdecimal() else 0
        return Version(folder, identity(manifest, number), tuple(notes))
    raise BatchError("\n".join(notes))


def open_version(folder: Path, limits: Limits, wish: Wish, cache: Cache) -> Servable:
    """Raises: BatchError if it does not compute here what training did: no older one takes its
    place unasked, as a server's would."""
    try:
        servable = Servable.load(folder, limits=limits, wish=wish, cache=cache)
        try:
            servable.check_golden()
        except BadVersion:
            servable.close()
            raise
    except BadVersion as error:
        raise BatchError(f"{folder}: {error}") from error
    return servable


def identity(manifest: manifest_pb2.Manifest, version: int) -> ModelIdentity:
    domain = manifest_pb2.Domain.Name(manifest.domain).removeprefix("DOMAIN_").lower()
    return ModelIdentity(
        manifest.name, version, artefact_digest(manifest), domain, tuple(manifest.labels)
    )


def _versions(model: str, repository: Path) -> list[Path]:
    """The newest first."""
    for folder in (Path(model), repository / model):
        if (folder / SAVED_MODEL).is_file():
            return [folder.resolve()]  # `cifar10/1` as `.`, too
        if folder.is_dir():
            numbers = [path for path in folder.iterdir() if path.name.isdecimal()]
            if numbers:
                return sorted(map(Path.resolve, numbers), key=lambda path: -int(path.name))
    known = []
    if repository.is_dir():
        known = sorted(path.parent.parent.name for path in repository.glob(f"*/*/{SAVED_MODEL}"))
    raise BatchError(
        f"no model {model}: give a SavedModel's folder, or the name of a model in --repository; "
        f"{repository} has {', '.join(dict.fromkeys(known)) or 'none'}"
    )
