"""A trained network with all its layers by name: what every method looks into.

Opened from a run's folder, which has the Keras weights, or from a version, which has a SavedModel:
then the architecture is built anew and given the SavedModel's variables, and must reproduce the
version's golden scores before it is looked into.
"""

from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf import json_format
from keras import KerasTensor, tree

import models
from models.graph import unroll_named
from models.positions import last_maps, token_vectors
from pipelines.batch.errors import BatchError
from pipelines.batch.model import find_version
from pipelines.explain.errors import ExplainError
from pipelines.explain.inputs import Inputs
from pipelines.preprocessing.text import FIRST_ID, TextPreprocessing
from pipelines.run import CONFIG, Run, RunError
from protos.triptych.v1 import manifest_pb2
from serving.runtime.decoding import DEFAULT_LIMITS, Limits
from serving.runtime.manifest import read_golden, read_manifest
from serving.runtime.servable import GOLDEN_TOLERANCE

LISTED = 60  # layers that an error names


class Network:
    """Not for several threads at once.

    source:    the network as it was given.
    model:     functional, unrolled: examples [B, ...] -> logits [B, K], as at inference.
    labels:    K of them.
    inputs:    what makes examples; None for a network without any.
    layers:    path ("stages.0.conv1.conv", or a block's, "stages.0") -> output, in running order.
    steps:     models.graph's, of `model`.
    names:     id(output) -> its shortest path.
    last_maps: the layers that `models.positions.last_maps` finds: of parallel branches, all.
    embedded:  of a text's network: where token numbers have become vectors.
    memo:      what methods work out once for a network.

    Args:  network: a Keras model of ours, or any functional one; example_shape, dtype: of what it
           takes, no batch axis.
    """

    def __init__(
        self,
        network: keras.Model,
        labels: Sequence[str],
        example_shape: Sequence[int | None],
        dtype: str = "float32",
        domain: str | None = None,
        inputs: Inputs | None = None,
        name: str = "",
    ):
        self.source = network
        self.model, self.layers, self.steps = unroll_named(network, tuple(example_shape), dtype)
        self.labels = list(labels)
        self.domain = domain or (inputs.domain if inputs else "image")
        self.inputs = inputs
        self.name = name or network.name
        self.names: dict[int, str] = {}
        for path, output in self.layers.items():
            self.names[id(output)] = min(self.names.get(id(output), path), path, key=len)
        self.last_maps, self._no_maps = self._find_last_maps()
        self.embedded = token_vectors(self.steps)
        self._after = self._after_embedding()
        self.features = cache(self._features)
        self.memo: dict[Hashable, Any] = {}

    @property
    def last_conv(self) -> str:
        """The last of `last_maps`.  Raises: ExplainError if there are none."""
        if not self.last_maps:
            raise ExplainError(f"{self.name} has no layer by default, as {self._no_maps}: name one")
        return self.last_maps[-1]

    def example(self, item: bytes | str) -> npt.NDArray[Any]:
        """One example, no batch axis.  Raises: InvalidInput."""
        if self.inputs is None:
            raise ExplainError(f"{self.name} was opened without what makes its examples")
        return self.inputs.example(item)

    def layer(self, name: str) -> KerasTensor:
        """Raises: ExplainError, with the names that there are."""
        if name not in self.layers:
            known = list(dict.fromkeys(self.names.values()))
            more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
            raise ExplainError(
                f"{self.name} has no layer {name!r}; it has {', '.join(known[-LISTED:])}{more}"
            )
        return self.layers[name]

    def name_of(self, output: KerasTensor) -> str:
        """A layer's path. What no layer gave is named after the last one before and what was done
        since, as "norm.relu", and is a layer then like the others.
        """
        if id(output) not in self.names:
            made = {
                id(x): n for n, step in enumerate(self.steps) for x in tree.flatten(step.output)
            }
            done, before = [], output
            while id(before) not in self.names and id(before) in made:
                step = self.steps[made[id(before)]]
                done.insert(0, type(step.operation).__name__.lower())
                # Of a product with a mask it is what was masked, of a sum what was added last.
                alike = [x for x in step.inputs if x.shape == before.shape]
                before = max(alike or step.inputs[:1], key=lambda x: made.get(id(x), -1))
            name = ".".join([self.names.get(id(before), "input"), *done])
            while name in self.layers:
                name += "'"
            self.layers[name], self.names[id(output)] = output, name
        return self.names[id(output)]

    def _find_last_maps(self) -> tuple[tuple[str, ...], str]:
        """Their names, or why there are none."""
        try:
            return tuple(self.name_of(output) for output in last_maps(self.steps)), ""
        except ValueError as error:
            return (), str(error)

    def _features(self, *layers: str) -> keras.Model:
        """examples -> [each layer's output ..., logits]; made once.  Raises: ExplainError."""
        return keras.Model(
            self.model.input, [*(self.layer(name) for name in layers), self.model.output]
        )

    def embed(self, examples: npt.NDArray[Any] | tf.Tensor) -> tf.Tensor:
        """What gradients are taken of: a text's embedding [B, T, D], or the examples themselves."""
        if not self.embedded:
            return tf.convert_to_tensor(examples)
        model = self._embedding
        return tf.concat(tree.flatten(model(examples, training=False)), axis=-1)

    def logits(self, x: tf.Tensor, examples: npt.NDArray[Any] | tf.Tensor) -> tf.Tensor:
        """[B, K], by which x, as `embed` gives it, can be differentiated.

        Args:  examples: where x comes from, as a text network reads from it where padding is.
        """
        if not self.embedded:
            return self.model(x, training=False)
        parts = tf.split(x, [e.shape[-1] for e in self.embedded], axis=-1)
        return self._after([tf.convert_to_tensor(examples), *parts], training=False)

    def scores(self, examples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """[B, ...] -> [B, K], after softmax."""
        return tf.nn.softmax(self.model(examples, training=False)).numpy()

    def class_id(self, label: str) -> int:
        """Raises: ExplainError, with the classes that there are."""
        if label not in self.labels:
            raise ExplainError(
                f"{self.name} has no class {label!r}; it has {', '.join(self.labels)}"
            )
        return self.labels.index(label)

    def _after_embedding(self) -> keras.Model | None:
        if not self.embedded:
            return None
        self._embedding = keras.Model(self.model.input, self.embedded)
        return keras.Model([self.model.input, *self.embedded], self.model.output)


def open_network(
    model: str | Path,
    repository: Path = Path("model_repository"),
    limits: Limits = DEFAULT_LIMITS,
) -> Network:
    """
    Args:    model: a run's folder, a version's, or a name in the repository: its newest version.
    Raises:  ExplainError if there is none, or it is not what was exported.
    """
    try:
        if (Path(model) / CONFIG).is_file():
            return _of_run(Run.open(Path(model)), limits)
        version = find_version(str(model), repository)
    except (RunError, BatchError) as error:
        raise ExplainError(str(error)) from error
    return _of_version(version.folder, limits)


def _of_run(run: Run, limits: Limits) -> Network:
    inputs = run.preprocessing()
    spec = inputs.example_spec
    name = run.folder.resolve().name
    return Network(
        run.trained_model(),
        run.labels,
        tuple(spec.shape),
        spec.dtype.name,
        inputs=Inputs.of(inputs, limits),
        name=name,
    )


def _of_version(folder: Path, limits: Limits) -> Network:
    manifest, golden = read_manifest(folder), read_golden(folder)
    saved = tf.saved_model.load(str(folder))
    spec = saved.signatures["preprocess"].structured_outputs["example"]
    network = _built(manifest, spec)
    _carry(saved.signatures["predict"], network, spec, manifest.name)
    inputs = _inputs(manifest, saved, golden, limits)
    result = Network(
        network,
        list(manifest.labels),
        tuple(spec.shape),
        spec.dtype.name,
        inputs=inputs,
        name=manifest.name,
    )
    _prove(result, golden)
    return result


def _built(manifest: manifest_pb2.Manifest, spec: tf.TensorSpec) -> keras.Model:
    architecture = manifest.architecture
    options = _whole(json_format.MessageToDict(architecture.options))
    try:
        network = models.create_model(architecture.name, len(manifest.labels), **options)
        network(keras.ops.zeros([1, *(size or 64 for size in spec.shape)], spec.dtype.name))
    except (TypeError, ValueError) as error:
        raise ExplainError(
            f"{manifest.name} cannot be built anew as {architecture.name} with {options}: {error}."
            " Export it again with this release, or explain the run's folder"
        ) from error
    return network


def _whole(value: Any) -> Any:
    """A protobuf Struct has no whole numbers."""
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _carry(predict: Any, network: keras.Model, spec: tf.TensorSpec, name: str) -> None:
    """The SavedModel's variables into the network: in both, in the order in which they're read."""
    batch = tf.TensorSpec([None, *spec.shape], spec.dtype)
    traced = tf.function(lambda examples: network(examples, training=False), [batch])
    ours, theirs = _read_order(traced.get_concrete_function()), _read_order(predict)
    if [_kind(v) for v in ours] != [_kind(v) for v in theirs]:
        raise ExplainError(
            f"{name}'s variables are not those of its architecture as this release builds it"
            f" ({len(theirs)} and {len(ours)}): export it again, or explain the run's folder"
        )
    for variable, value in zip(ours, theirs, strict=True):
        variable.assign(value)


def _read_order(function: Any) -> list[tf.Variable]:
    by_handle = {id(v.handle): v for v in function.graph.variables}
    return [by_handle[id(x)] for x in function.captured_inputs if id(x) in by_handle]


def _kind(variable: tf.Variable) -> tuple[str, tuple[int, ...]]:
    return variable.name.rpartition("/")[2], tuple(variable.shape)


def _inputs(
    manifest: manifest_pb2.Manifest, saved: Any, golden: Sequence[Any], limits: Limits
) -> Inputs:
    endpoint = saved.signatures["preprocess"]
    (argument,) = endpoint.structured_input_signature[1]

    def preprocess(decoded: Any) -> npt.NDArray[Any]:
        return endpoint(**{argument: tf.constant(decoded)})["example"].numpy()

    if manifest.input.WhichOneof("kind") != "text":
        return Inputs(manifest.input, preprocess, limits=limits)
    table = saved.preprocessing.ids.resource_handle
    words, numbers = tf.raw_ops.LookupTableExportV2(
        table_handle=table, Tkeys=tf.string, Tvalues=tf.int32
    )
    vocabulary = [""] * (manifest.input.text.vocabulary_size - FIRST_ID)
    for word, number in zip(words.numpy(), numbers.numpy(), strict=True):
        if vocabulary:
            vocabulary[number - FIRST_ID] = word.decode()
    own = models.ARCHITECTURES[manifest.architecture.name].inputs
    for options in (own, {"unit": "word"}, {"unit": "character"}):
        given = {"max_tokens": manifest.input.text.max_tokens, **options, "vocabulary": vocabulary}
        text = TextPreprocessing(**given)
        if all(
            np.array_equal(text.preprocess(tf.constant(g.text)), preprocess(g.text)) for g in golden
        ):
            return Inputs(manifest.input, preprocess, text, limits)
    raise ExplainError(
        f"how {manifest.name} splits a text is not known to this release: export it again, or"
        " explain the run's folder"
    )


def _prove(network: Network, golden: Sequence[manifest_pb2.GoldenExample]) -> None:
    for each in golden:
        item = each.text if each.WhichOneof("kind") == "text" else each.data
        scores = network.scores(network.example(item)[np.newaxis])[0]
        difference = float(np.abs(scores - np.array(each.scores, np.float32)).max())
        if not difference <= GOLDEN_TOLERANCE:
            raise ExplainError(
                f"{network.name}, built anew in Keras, is not what was exported: a golden score"
                f" differs by {difference:.2g}, and {GOLDEN_TOLERANCE:g} is allowed. Export it"
                " again, or explain the run's folder"
            )
