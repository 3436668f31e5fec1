"""A loaded version: manifest, endpoints, warm-up, and the proof that it is what was trained.

Which executor computes is `serving.runtime.opening`'s matter, how bytes are read is
`serving.runtime.decoding`'s, and when to load which version the server's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from protos.triptych.v1 import manifest_pb2
from serving.errors import BadVersion, InvalidInput
from serving.runtime import decoding, prepared
from serving.runtime.cache import Cache
from serving.runtime.decoding import DEFAULT_LIMITS, Limits
from serving.runtime.endpoint import (
    STRING,
    Endpoint,
    Tensors,
    TensorSpec,
    names,
    shape_text,
    type_name,
)
from serving.runtime.executors import Executor, Outputs
from serving.runtime.manifest import (
    MANIFEST,
    fingerprint,
    read_golden,
    read_manifest,
    verify_files,
)
from serving.runtime.opening import BF16_SCORE_TOLERANCE, Report, Wish, open_endpoint
from serving.runtime.prepared import Prepared
from serving.runtime.saved_model import SERVING_DEFAULT, SavedModel

GOLDEN_TOLERANCE = 1e-4  # between a golden score and what this machine computes
ENDPOINTS = ("preprocess", "predict", "classify")
RAW_ENDPOINTS = frozenset({"classify", "serving_default"})  # of ours: encoded inputs
EXPLAIN = "explain"  # of ours, and Explain's alone: it would compute with the threads of others
COMPILED_KINDS = "fiub"  # of NumPy's types. OpenVINO makes float32 of the others, or nothing.

Decoded = npt.NDArray[Any] | str


class Scores(NamedTuple):
    logits: npt.NDArray[np.float32]  # [B, K]
    scores: npt.NDArray[np.float32]  # [B, K], after softmax


class Servable:
    """All methods but `close` may be called from many threads at once.

    name, version:    the manifest's, and the folder's number, or 0 if it has another name.
    manifest:         None for a SavedModel that triptych did not write: its endpoints are served.
    endpoints:        by name, as the SavedModel's signatures, but for those of types that no client
                      can send; the report says which.
    own_endpoints:    EXPLAIN, if there is one: `run` computes it, and no client can ask for it.
    default_endpoint: the one that `executor` computes and whose calls share batches.
    raw_endpoints:    which take encoded files or text, one string an example.
    limits:           of what is decoded.
    """

    def __init__(
        self,
        folder: Path,
        manifest: manifest_pb2.Manifest | None,
        golden: Sequence[manifest_pb2.GoldenExample],
        graphs: SavedModel | Prepared,
        limits: Limits,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.name = manifest.name if manifest else folder.parent.name
        self.version = int(folder.name) if folder.name.isdecimal() else 0
        self.labels: Sequence[str] = list(manifest.labels) if manifest else []
        self._golden = golden
        self._graphs: SavedModel | Prepared | None = graphs
        endpoints = dict(graphs.endpoints)
        self.limits = limits
        self.endpoints: Mapping[str, Endpoint] = endpoints
        self.own_endpoints: Mapping[str, Endpoint] = {}
        if manifest is not None:
            if EXPLAIN in endpoints:
                self.own_endpoints = {EXPLAIN: endpoints.pop(EXPLAIN)}
            # Of one input: the first axis of a waveform, though of any size, is no batch.
            endpoints["preprocess"] = endpoints["preprocess"]._replace(batched=False)
            if manifest.input.text.vocabulary_size:
                endpoints["predict"] = endpoints["predict"].of_codes(
                    manifest.input.text.vocabulary_size
                )
            self.default_endpoint = "predict"
            self.raw_endpoints = RAW_ENDPOINTS
            self._input = manifest.input
            ((self._decoded_name, self._decoded_spec),) = self.endpoints[
                "preprocess"
            ].inputs.items()
        else:
            known = list(self.endpoints)
            self.default_endpoint = SERVING_DEFAULT if SERVING_DEFAULT in known else known[0]
            self.raw_endpoints = frozenset()
        self.executor: Executor
        self.report: Report

    @classmethod
    def load(
        cls,
        folder: Path,
        executor: str = "openvino",
        limits: Limits = DEFAULT_LIMITS,
        *,
        wish: Wish | None = None,
        cache: Cache | None = None,
    ) -> Self:
        """Blocking: tens of milliseconds for a small model, and seconds for TensorFlow's import.

        Args:   wish: how to open the default endpoint, instead of `executor`, unmeasured.
        Raises: BadVersion if a file is missing or changed, or is not what an export writes.
        """
        manifest, golden = None, []
        if (folder / MANIFEST).exists():
            manifest = read_manifest(folder)
            verify_files(folder, manifest)
            golden = read_golden(folder)
        digest, cache = fingerprint(folder, manifest), cache or Cache(None)
        graphs: SavedModel | Prepared | None = None
        if manifest is not None:
            graphs = Prepared.recall(folder, digest, cache)
        if graphs is None:
            graphs = SavedModel(folder)
            if manifest is not None:
                graphs.require(ENDPOINTS)
        servable = cls(folder, manifest, golden, graphs, limits)
        try:
            servable._open(wish or Wish(executor, seconds=0.0), cache, digest)
        except BaseException:
            graphs.close()
            raise
        if manifest is not None and servable.executor_name != "tensorflow":
            servable._let_go(graphs, digest, cache)
        return servable

    @property
    def executor_name(self) -> str:
        return self.executor.name

    @property
    def precision(self) -> str:
        return self.executor.precision

    @property
    def best_batch_size(self) -> int:
        return self.report.best_batch_size

    def has(self, endpoint: str) -> bool:
        return endpoint in self.endpoints

    def endpoint(self, name: str) -> Endpoint:
        """Raises: InvalidInput, with the names that there are, or with who is asked instead."""
        if name in self.own_endpoints:
            raise InvalidInput(
                f"endpoint {name!r} of model {self.name!r} is no one's to call: ask "
                f"Classifier.Explain or /v1/explain/{self.name} for an explanation"
            )
        if name not in self.endpoints:
            raise InvalidInput(
                f"model {self.name!r} has no endpoint {name[:100]!r}. It has "
                f"{names(self.endpoints)}"
            )
        return self.endpoints[name]

    def run(self, endpoint: str, inputs: Tensors) -> Outputs:
        """Any endpoint, computed by TensorFlow. Blocking. Raises: InvalidInput."""
        (self.own_endpoints.get(endpoint) or self.endpoint(endpoint)).check(inputs)
        return self._call(endpoint)(inputs)

    def decode(self, item: bytes | str) -> Decoded:
        """What `preprocess` takes. Raises: InvalidInput."""
        return decoding.decode(item, self._input, self.limits)

    def preprocess(self, decoded: Decoded) -> npt.NDArray[Any]:
        """One example, without batch axis. Raises: InvalidInput if `decoded` does not fit."""
        value = np.array(decoded, object) if isinstance(decoded, str) else decoded
        _check(self._decoded_name, value, self._decoded_spec)
        return self._call("preprocess")({self._decoded_name: value})["example"]

    def predict(self, examples: npt.NDArray[Any], alone: bool = False) -> Scores:
        """[B, ...] -> [B, K]. Blocking. Raises: InvalidInput if `examples` do not fit."""
        # TensorFlow itself takes any shape without a word, and computes something.
        _check("examples", examples, self.endpoints["predict"].inputs["examples"])
        outputs = self.executor.run({"examples": examples}, alone=alone)
        return Scores(outputs["logits"], outputs["scores"])

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """So that no caller waits for what is compiled at a shape's first use."""
        batched = self.endpoints[self.default_endpoint].batched
        for probe in {tuple(v.shape for v in p.values()): p for p in self._probes()}.values():
            for size in batch_sizes if batched else (1,):
                batch = {name: np.repeat(value, size, axis=0) for name, value in probe.items()}
                self.executor.run(batch if batched else probe)
            self.executor.run(probe, alone=True)

    def check_golden(self) -> None:
        """Raises: BadVersion if a score is more than GOLDEN_TOLERANCE off training's own.

        In bf16 it is BF16_SCORE_TOLERANCE; that was looked at when the executor was opened.
        """
        tolerance = GOLDEN_TOLERANCE if self.precision == "f32" else BF16_SCORE_TOLERANCE
        largest = 0.0
        for golden in self._golden:
            example = self._golden_example(golden)[np.newaxis]
            for alone in (False, True):
                scores = self.predict(example, alone).scores
                if len(scores) != 1:
                    raise BadVersion(
                        f"`predict` gives {len(scores)} rows of scores for one input, by "
                        f"{self.executor_name}: it must give one row for each example"
                    )
                if not scores.shape[1] == len(golden.scores) == len(self.labels):
                    raise BadVersion(
                        f"{len(self.labels)} labels, {len(golden.scores)} golden scores and "
                        f"{scores.shape[1]} computed ones: export the model again"
                    )
                difference = float(np.abs(scores[0] - np.array(golden.scores, np.float32)).max())
                largest = max(largest, np.inf if np.isnan(difference) else difference)
        if largest > tolerance:
            raise BadVersion(
                f"golden scores are not reproduced by {self.executor_name}: the largest "
                f"difference is {largest:.2g}, and {tolerance:g} is allowed. This is not "
                "the model that was tested: export it again"
            )

    def reopen(self, executor: str) -> None:
        """Compute the default endpoint by another executor, unmeasured, from the loaded graph.

        Not while calls run. Raises: BadVersion if it cannot open the endpoint.
        """
        self.executor.close()
        self._open(Wish(executor, seconds=0.0), Cache(None), "")

    def close(self) -> None:
        """Frees the memory, once the calls that still run in threads have ended."""
        self.executor.close()
        graphs, self._graphs = self._graphs, None
        if graphs is not None:
            graphs.close()

    def _call(self, endpoint: str) -> Callable[[Tensors], Outputs]:
        if self._graphs is None:
            raise RuntimeError("the version is closed")
        return self._graphs.call(endpoint)

    def _let_go(self, graphs: SavedModel | Prepared, digest: str, cache: Cache) -> None:
        """Of the network's graphs, which nobody needs any more: the executor has its own."""
        if isinstance(graphs, Prepared):
            graphs.let_go()
        elif cache.folder is not None:
            prepared.keep(graphs, digest, cache)
            small = Prepared.recall(self.folder, digest, cache)
            if small is not None:
                self._graphs = small
                graphs.close()

    def _open(self, wish: Wish, cache: Cache, key: str) -> None:
        endpoint = self.endpoints[self.default_endpoint]
        specs = [*endpoint.inputs.values(), *endpoint.outputs.values()]
        if any(spec.dtype.kind not in COMPILED_KINDS for spec in specs):
            wish = wish._replace(executor="tensorflow")
        graphs = self._graphs
        assert graphs is not None
        self.executor, report = open_endpoint(
            lambda: graphs.signature(endpoint.name), endpoint, self._probes(), wish, cache, key
        )
        self.report = replace(report, notes=(*report.notes, *graphs.notes))

    def _probes(self) -> list[Tensors]:
        """Inputs to try the default endpoint with; none where no size is known."""
        if self.manifest is not None:
            return [{"examples": self._golden_example(g)[np.newaxis]} for g in self._golden]
        endpoint = self.endpoints[self.default_endpoint]
        rng = np.random.default_rng(0)
        probe = {}
        for name, spec in endpoint.inputs.items():
            shape = spec.shape
            if shape is not None and endpoint.batched:
                shape = (1, *shape[1:])
            if shape is None or None in shape or spec.dtype == STRING:
                return []
            values = rng.random([size or 0 for size in shape])
            probe[name] = values.astype(spec.dtype)  # in [0, 1): no index out of any range
        return [probe]

    def _golden_example(self, golden: manifest_pb2.GoldenExample) -> npt.NDArray[Any]:
        item = golden.text if golden.WhichOneof("kind") == "text" else golden.data
        try:
            # Within the default limits: a server's own may be narrower than training's.
            return self.preprocess(decoding.decode(item, self._input))
        except InvalidInput as error:
            raise BadVersion(f"a golden input cannot be read: {error}") from error


def _check(name: str, value: npt.NDArray[Any], spec: TensorSpec) -> None:
    if not spec.fits(value):
        given = f"{type_name(value.dtype)} of shape {shape_text(value.shape)}"
        raise InvalidInput(
            f"{name} is {given}, and the model takes {type_name(spec.dtype)} of shape "
            f"{shape_text(spec.shape)}"
        )
