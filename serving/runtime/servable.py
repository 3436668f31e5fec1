"""One version of a model, loaded: its manifest, its endpoints, and the proof that it is sound.

Knows SavedModels and manifests. Who may use it, and in which batches, is others' matter.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format
from google.protobuf.message import Message

from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion, InvalidInput
from serving.runtime.decoding import DEFAULT_LIMITS, Limits, decode
from serving.runtime.executors import EXECUTORS, Executor, Scores

SCHEMA_VERSION = 1
GOLDEN_TOLERANCE = 1e-4  # of a score; float32 on other processors differs by some 1e-6
ENDPOINTS = ("preprocess", "predict", "classify")
M = TypeVar("M", bound=Message)
WARM_UP_LENGTH = 64  # frames or tokens, where examples vary in length


class Servable:
    """All methods block, and all may be called from many threads."""

    def __init__(
        self,
        folder: Path,
        manifest: manifest_pb2.Manifest,
        saved_model: Any,
        executor: Executor,
        limits: Limits,
    ):
        self.folder = folder
        self.manifest = manifest
        self.name = manifest.name
        self.version = int(folder.name) if folder.name.isdecimal() else 0
        self.executor_name = executor.name
        self._limits = limits
        self._executor = executor
        self._saved_model = saved_model  # the signatures hold its variables weakly
        self._preprocess = saved_model.signatures["preprocess"]
        (self._preprocess_input,) = self._preprocess.structured_input_signature[1].values()
        (self._example,) = saved_model.signatures["predict"].structured_input_signature[1].values()

    @classmethod
    def load(
        cls, folder: Path, executor: str = "openvino", limits: Limits = DEFAULT_LIMITS
    ) -> Self:
        """Read, check every file's digest, and compile.

        Raises: BadVersion if a file is missing or changed, or the SavedModel lacks an endpoint.
        """
        manifest = read_manifest(folder)
        _check_digests(folder, manifest)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        try:
            saved_model = tf.saved_model.load(str(folder))
        except Exception as error:
            raise BadVersion(f"{folder}: not a SavedModel that can be loaded: {error}") from error
        missing = sorted(set(ENDPOINTS) - set(saved_model.signatures))
        if missing:
            raise BadVersion(f"{folder}: the SavedModel has no endpoint {', '.join(missing)}")
        compiled = EXECUTORS[executor](saved_model.signatures["predict"])
        return cls(folder, manifest, saved_model, compiled, limits)

    def decode(self, item: bytes | str) -> npt.NDArray[Any] | str:
        """A file's bytes, or a text -> what `preprocess` takes.  Raises InvalidInput."""
        return decode(item, self.manifest.input, self._limits)

    def preprocess(self, decoded: npt.NDArray[Any] | str) -> npt.NDArray[Any]:
        """One decoded input -> one example, no batch axis."""
        import tensorflow as tf

        value = tf.constant(decoded, self._preprocess_input.dtype)
        example: npt.NDArray[Any] = self._preprocess(**{self._preprocess_input.name: value})[
            "example"
        ].numpy()
        return example

    def predict(self, examples: npt.NDArray[Any]) -> Scores:
        """[B, ...] -> [B, K].

        Raises: InvalidInput if type or shape don't fit: executors don't all look.
        """
        wanted = self._example
        if examples.dtype != wanted.dtype.as_numpy_dtype or not wanted.shape.is_compatible_with(
            examples.shape
        ):
            raise InvalidInput(
                f"model {self.name!r} takes {wanted.dtype.name} {wanted.shape}, and"
                f" {examples.dtype.name} {examples.shape} came"
            )
        return self._executor.predict(examples)

    def warm_up(self, batch_size: int = 1) -> None:
        """The first call of each kind is slow: let it be this one."""
        shape = [size or WARM_UP_LENGTH for size in self._example.shape[1:]]
        dtype = self._example.dtype.as_numpy_dtype
        for size in {1, batch_size}:
            self.predict(np.zeros((size, *shape), dtype))

    def check_golden(self) -> None:
        """Score the inputs that were scored in training.

        Raises: BadVersion if one differs by more than GOLDEN_TOLERANCE, or cannot be read.
        """
        golden = _read(self.folder / "assets.extra" / "golden.json", manifest_pb2.GoldenSet())
        if not golden.examples:
            raise BadVersion(f"{self.folder}: it has no golden inputs to check it by")
        for number, example in enumerate(golden.examples):
            item = example.data if example.HasField("data") else example.text
            try:
                scores = self.predict(self.preprocess(self.decode(item))[np.newaxis]).scores[0]
            except InvalidInput as error:
                raise BadVersion(f"golden input {number} cannot be classified: {error}") from error
            wanted = np.array(example.scores, np.float32)
            if scores.shape != wanted.shape:
                raise BadVersion(f"golden input {number}: {scores.size} scores for {wanted.size}")
            difference = float(np.abs(scores - wanted).max())
            if not difference <= GOLDEN_TOLERANCE:  # NaN is not
                raise BadVersion(
                    f"golden input {number}: a score differs by {difference:.2g} from what"
                    f" training computed, and {GOLDEN_TOLERANCE:g} is allowed: export it again"
                )

    def close(self) -> None:
        self._executor.close()


def read_manifest(folder: Path) -> manifest_pb2.Manifest:
    """Raises BadVersion if there is none, or none of this schema."""
    manifest = _read(folder / "assets.extra" / "manifest.json", manifest_pb2.Manifest())
    if manifest.schema_version != SCHEMA_VERSION:
        raise BadVersion(
            f"{folder}: its manifest is of schema {manifest.schema_version}, and this server"
            f" reads {SCHEMA_VERSION}: use the triptych that exported it"
        )
    return manifest


def _read(path: Path, message: M) -> M:
    try:
        return json_format.Parse(path.read_bytes(), message)
    except OSError as error:
        raise BadVersion(f"{path}: cannot be read: {error.strerror}") from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BadVersion(f"{path}: not what this server reads: {error}") from error


def _check_digests(folder: Path, manifest: manifest_pb2.Manifest) -> None:
    root = folder.resolve()
    for declared in manifest.files:
        path = (folder / declared.path).resolve()
        if not path.is_relative_to(root):
            raise BadVersion(f"{folder}: its manifest names a file outside of it: {declared.path}")
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadVersion(f"{path}: cannot be read: {error.strerror}") from error
        if digest != declared.sha256:
            raise BadVersion(f"{path}: not the file that was exported: copy the version again")
