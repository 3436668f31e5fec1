"""A version whose `predict` is compiled: of TensorFlow's graphs it needs `preprocess` alone.

To load those of the network takes TensorFlow seconds, and to convert them OpenVINO some more, in
which both hold the interpreter's lock for tenths of a second: nobody is answered then. So it is
done once, where it disturbs no one, and what serving needs is kept in the cache: what the executor
compiles (`serving.runtime.executors`), the endpoints, and `preprocess` as a SavedModel of its own.
"""

import json
import logging
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from serving.errors import BadVersion, ModelUnavailable
from serving.runtime.cache import Cache
from serving.runtime.endpoint import Endpoint, TensorSpec
from serving.runtime.manifest import artefact_digest, read_manifest, verify_files
from serving.runtime.opening import releases
from serving.runtime.saved_model import SavedModel

if TYPE_CHECKING:
    from serving.runtime.executors.tensorflow import Call

logger = logging.getLogger(__name__)

PREPROCESS = "preprocess"
ENDPOINTS = "assets.extra/endpoints.json"


class Prepared:
    """What `SavedModel` is, at a hundredth of its graphs. The whole is loaded when another endpoint
    is first called, or a signature asked for.

    Args: folder, digest: of the version, and of what it holds.
    """

    def __init__(self, folder: Path, digest: str, kept: Path) -> None:
        self._folder = folder
        self._digest = digest
        self._own = SavedModel(kept)
        told = json.loads((kept / ENDPOINTS).read_text())
        self.endpoints = {name: _read_endpoint(name, *of) for name, of in told["endpoints"].items()}
        self.notes: list[str] = told["notes"]
        self._whole: SavedModel | None = None
        self._loading = threading.Lock()

    @classmethod
    def recall(cls, folder: Path, digest: str, cache: Cache) -> Self | None:
        """None if it is not in the cache, or cannot be read there."""
        archive = cache.file(_place(digest))
        if archive is None:
            return None
        try:
            with TemporaryDirectory() as kept:
                shutil.unpack_archive(archive, kept, "zip")
                return cls(folder, digest, Path(kept))
        except Exception as error:  # cut short, say, at any place
            logger.warning("%s: its prepared graphs are made anew: %s", folder, error)
            return None

    def signature(self, name: str) -> Any:
        """Raises: ModelUnavailable, as `call`."""
        return self._load_whole().signature(name)

    def call(self, name: str) -> "Call":
        """Raises: ModelUnavailable if the version's folder is not what it was."""
        return (self._own if name == PREPROCESS else self._load_whole()).call(name)

    def let_go(self) -> None:
        """Of the whole, if it is loaded."""
        whole, self._whole = self._whole, None
        if whole is not None:
            whole.close()

    def close(self) -> None:
        """As SavedModel.close."""
        self.let_go()
        self._own.close()

    def _load_whole(self) -> SavedModel:
        with self._loading:
            if self._whole is None:
                self._whole = self._read_whole()
            return self._whole

    def _read_whole(self) -> SavedModel:
        folder = self._folder
        try:
            manifest = read_manifest(folder)
            if artefact_digest(manifest) != self._digest:
                raise BadVersion("it was changed since it was loaded: publish a new version")
            verify_files(folder, manifest)
            return SavedModel(folder)
        except BadVersion as error:
            raise ModelUnavailable(
                f"{folder.parent.name} version {folder.name} is loaded, but cannot be read any "
                f"more for more of its endpoints: {error}"
            ) from error


def is_kept(digest: str, cache: Cache) -> bool:
    return cache.file(_place(digest)) is not None


def keep(saved_model: SavedModel, digest: str, cache: Cache) -> None:
    """For `Prepared.recall`. What cannot be kept is served all the same, by the whole."""
    try:
        _keep(saved_model, digest, cache)
    except Exception as error:  # no room for it, or a graph that TensorFlow does not save again
        logger.warning("the version of digest %s is loaded whole each time: %s", digest, error)


def _keep(saved_model: SavedModel, digest: str, cache: Cache) -> None:
    endpoints = {
        name: (_tell(endpoint.inputs), _tell(endpoint.outputs), endpoint.batched)
        for name, endpoint in saved_model.endpoints.items()
    }
    with TemporaryDirectory() as place:
        folder = Path(place) / PREPROCESS
        saved_model.save_alone(PREPROCESS, folder)
        told = folder / ENDPOINTS
        told.parent.mkdir(exist_ok=True)
        told.write_text(json.dumps({"endpoints": endpoints, "notes": saved_model.notes}))
        archive = shutil.make_archive(str(folder), "zip", folder)
        cache.write(_place(digest), Path(archive).read_bytes())


def _place(digest: str) -> str:
    return f"prepared {releases()} {digest}"


Told = Mapping[str, tuple[str, Sequence[int | None] | None]]  # name -> type and shape


def _tell(specs: Mapping[str, TensorSpec]) -> Told:
    return {name: (spec.dtype.name, spec.shape) for name, spec in specs.items()}


def _read_endpoint(name: str, inputs: Told, outputs: Told, batched: bool) -> Endpoint:
    return Endpoint(name, _read_specs(inputs), _read_specs(outputs), batched)


def _read_specs(told: Told) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(name, np.dtype(dtype), None if shape is None else tuple(shape))
        for name, (dtype, shape) in told.items()
    }
