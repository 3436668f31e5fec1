"""The endpoint `explain`, for who asks: what a class's logit hangs on, for maps made without Keras.

examples [B, ...], as `predict` takes them, and class_ids int32 [B], where -1 is the best class
    -> class_ids [B], scores [B, K]
       features [B, ..., C]: the last output with positions (models.positions.last_maps)
       feature_gradients [B, ..., C], input_gradients [B, ...]: of that class's logit; of a text's
           tokens [B, T] it is the norm for each one's vector
       class_weights [B, C], where features are averaged and nothing but a fully connected layer
           follows: how much of each feature is in the logit

Serving makes the methods' maps of them (serving/runtime/explanation.py).
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.graph import steps, unroll
from models.positions import averaged, last_maps, token_vectors
from pipelines.preprocessing import Preprocessing

Endpoint = tf.types.experimental.PolymorphicFunction


def explain_endpoint(model: keras.Model, preprocessing: Preprocessing) -> Endpoint:
    """The endpoint, with the model's own weights. Raises: ValueError if there can be none."""
    example = preprocessing.example_spec
    trace = steps(unroll(model, tuple(example.shape), example.dtype.name))
    maps, vectors = last_maps(trace), token_vectors(trace)
    if not (vectors or example.dtype.is_floating):
        raise ValueError("the network makes no vectors of its tokens, so nothing has a gradient")
    ending = averaged(trace)
    weights = ending.weights if ending and [id(ending.maps)] == [id(x) for x in maps] else None
    made = {id(step.output) for step in trace}
    (source,) = {id(x): x for step in trace for x in step.inputs if id(x) not in made}.values()
    network = keras.Model(source, [trace[-1].output, *maps, *vectors])

    def explain(examples: tf.Tensor, class_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            if not vectors:
                tape.watch(examples)
            logits, *seen = network(examples, training=False)
            best = tf.argmax(logits, axis=-1, output_type=tf.int32)
            chosen = tf.where(class_ids < 0, best, class_ids)
            logit = tf.gather(logits, chosen, batch_dims=1)
        features, read = seen[: len(maps)], seen[len(maps) :] or [examples]
        gradients = tape.gradient(logit, [*features, *read])
        answer = {
            "features": _joined(features),
            "feature_gradients": _joined(gradients[: len(maps)]),
            "input_gradients": tf.norm(_joined(gradients[len(maps) :]), axis=-1)
            if vectors
            else gradients[-1],
            "scores": tf.nn.softmax(tf.cast(logits, tf.float32)),
        }
        if weights is not None:
            answer["class_weights"] = tf.gather(tf.transpose(weights), chosen)
        answer = {name: tf.cast(value, tf.float32) for name, value in answer.items()}
        return {**answer, "class_ids": chosen}

    specs = [
        tf.TensorSpec([None, *example.shape], example.dtype, name="examples"),
        tf.TensorSpec([None], tf.int32, name="class_ids"),
    ]
    return tf.function(explain, specs)


def difference(endpoint: Endpoint, exported: Any, example: np.ndarray) -> float:
    """Between what the endpoint gives of one example and what a reloaded one does: its norm, of
    that of the whole output, the largest of all outputs. Not of single numbers: where a unit stands
    at its kink, a rounding error turns its gradient on or off."""
    class_ids = tf.constant([-1])
    wanted = endpoint.python_function(tf.constant(example[np.newaxis]), class_ids)
    found = exported(examples=tf.constant(example[np.newaxis]), class_ids=class_ids)
    differences = []
    for name, value in wanted.items():
        scale = max(np.linalg.norm(value), np.finfo(np.float32).tiny)
        differences.append(np.linalg.norm(value - found[name]) / scale)
    largest = float(np.max(differences))
    return np.inf if np.isnan(largest) else largest


def _joined(maps: list[tf.Tensor]) -> tf.Tensor:
    return tf.concat(maps, axis=-1)
