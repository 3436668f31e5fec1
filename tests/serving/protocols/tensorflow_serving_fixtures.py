"""What the tests of TensorFlow Serving's protocol share: a foreign SavedModel with signatures of
every kind, a server that has it beside our own, and messages.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_pb2 import ModelSpec

from tests.serving.server_fixtures import Client, running

WEIGHTS = np.array([[1, -1], [2, 0], [0, 3]], np.float32)  # [3, 2]
CLASSES = [b"left", b"right"]


class Served:
    """A running server and the unmodified stubs."""

    def __init__(self, client: Client, root: Path) -> None:
        self.client = client
        self.server = client.server
        self.root = root
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(client.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(client.channel)


@asynccontextmanager
async def serving(
    tiny: Any, root: Path, *, foreign: bool = True, **options: object
) -> AsyncIterator[Served]:
    """image in two versions with a label, audio, text, and "foreign", which takes a second."""
    tiny.publish(root, "image", 1)
    tiny.publish(root, "image", 2, seed=1)
    (root / "image" / "model.toml").write_text(
        'version_policy = "all"\nlabels = {stable = 1, canary = 3}\n'
    )
    tiny.publish(root, "audio")
    tiny.publish(root, "text")
    if foreign:
        save_foreign(root / "foreign" / "1")
    async with running(root, **options) as client:
        yield Served(client, root)


def save_foreign(folder: Path) -> None:
    """Examples have the feature "x" of 3 floats; it times WEIGHTS is what everything computes."""
    rows, strings = tf.TensorSpec([None, 3], tf.float32), tf.TensorSpec([None], tf.string)

    def scores(examples: Any) -> Any:
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([3], tf.float32)})
        return parsed["x"] @ WEIGHTS

    def labels(examples: Any) -> Any:
        return tf.broadcast_to(tf.constant(CLASSES), [tf.size(examples), 2])

    # fmt: off
    functions = {
        "serving_default": ({"x": rows, "b": tf.TensorSpec([None, 2])},
                            lambda x, b: {"y": x @ WEIGHTS + b, "sum": tf.reduce_sum(x, 1)}),
        "classify":    ({"inputs": strings},
                        lambda inputs: {"classes": labels(inputs), "scores": scores(inputs)}),
        "scores_only": ({"inputs": strings}, lambda inputs: {"scores": scores(inputs)}),
        "labels_only": ({"inputs": strings}, lambda inputs: {"classes": labels(inputs)}),
        "regress":     ({"inputs": strings}, lambda inputs: {"outputs": scores(inputs)[:, :1]}),
        "regress_flat": ({"inputs": rows}, lambda inputs: {"outputs": inputs[:, 0]}),
        "regress_int": ({"inputs": tf.TensorSpec([None, 2], tf.int32)},
                        lambda inputs: {"outputs": tf.cast(inputs[:, 0], tf.float32)}),
        "regress_wide": ({"inputs": strings}, lambda inputs: {"outputs": scores(inputs)}),
        "regress_double": ({"inputs": strings},
                        lambda inputs: {"outputs": tf.cast(scores(inputs)[:, 0], tf.float64)}),
        "regress_less": ({"inputs": strings}, lambda inputs: {"outputs": scores(inputs)[1:, 0]}),
        "scores_flat": ({"inputs": strings}, lambda inputs: {"scores": scores(inputs)[:, 0]}),
        "scores_double": ({"inputs": strings},
                        lambda inputs: {"scores": tf.cast(scores(inputs), tf.float64)}),
        "scores_less": ({"inputs": strings}, lambda inputs: {"scores": scores(inputs)[1:]}),
        "uneven":      ({"inputs": strings}, lambda inputs: {"classes": labels(inputs),
                                                             "scores": scores(inputs)[:, :1]}),
        "three":       ({"inputs": strings}, lambda inputs: {"scores": scores(inputs), "classes":
                                                   labels(inputs), "more": labels(inputs)}),
        "unnamed":     ({"examples": strings}, lambda examples: {"scores": scores(examples)}),
        "unnamed_out": ({"inputs": strings}, lambda inputs: {"other": scores(inputs)}),
        "two":         ({"inputs": strings, "more": strings},
                        lambda inputs, more: {"scores": scores(inputs)}),
        "kinds":       ({"f16": tf.TensorSpec([None], tf.float16), "i64": tf.TensorSpec([None],
                         tf.int64), "u8": tf.TensorSpec([None], tf.uint8),
                         "bit": tf.TensorSpec([None], tf.bool)},
                        lambda f16, i64, u8, bit: {"f16": f16, "i64": i64, "u8": u8, "bit": bit}),
        "echo":        ({"text": strings}, lambda text: {"text": tf.identity(text),
                                                         "raw_bytes": tf.identity(text)}),
        "scalar":      ({"x": tf.TensorSpec([], tf.float32)}, lambda x: {"y": x * 2.0}),
        "complex":     ({"x": tf.TensorSpec([None], tf.complex64)}, lambda x: {"y": x * 2.0}),
    }
    # fmt: on
    module = tf.Module()
    signatures = {}
    for name, (specs, function) in functions.items():
        named = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in specs.items()}
        signatures[name] = tf.function(function).get_concrete_function(**named)
    tf.saved_model.save(module, str(folder), signatures=signatures)


def spec(model: str = "foreign", signature: str = "", version: int | None = None, label: str = ""):
    message = ModelSpec(name=model, signature_name=signature)
    if version is not None:
        message.version.value = version
    if label:
        message.version_label = label
    return message


def example(**features: Any) -> tf.train.Example:
    """By type: bytes, floats, integers; lists or one alone. `__` in a name is a slash."""
    message = tf.train.Example()
    for name, given in features.items():
        values = given if isinstance(given, list) else [given]
        feature = message.features.feature[name.replace("__", "/")]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return message


def listed(*examples: tf.train.Example, context: tf.train.Example | None = None) -> Input:
    message = Input()
    if context is None:
        message.example_list.examples.extend(examples)
        return message
    message.example_list_with_context.context.CopyFrom(context)
    message.example_list_with_context.examples.extend(examples)
    return message
