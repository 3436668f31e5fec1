"""The endpoint `embed`, for who asks: what the last layer sees of an input, to compare inputs by.

examples [B, ...], as `predict` takes them -> embedding float32 [B, D]
"""

from typing import Any

import keras
import tensorflow as tf

from models.graph import replay, unroll
from pipelines.preprocessing import Preprocessing


def embed_endpoint(
    model: keras.Model, preprocessing: Preprocessing
) -> tf.types.experimental.PolymorphicFunction:
    """The endpoint, with the model's own weights. Raises: ValueError if there can be none."""
    example = preprocessing.example_spec
    made = []

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        made.append((operation, args, operation(*args, **kwargs)))
        return made[-1][2]

    network = replay(unroll(model, tuple(example.shape), example.dtype.name), call)
    head, args = next((how, given) for how, given, output in made if output is network.output)
    if not isinstance(head, keras.layers.Dense):
        raise ValueError("the network does not end in a fully connected layer")
    features = keras.Model(network.input, args[0])

    def embed(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": tf.cast(features(examples, training=False), tf.float32)}

    batch = tf.TensorSpec([None, *example.shape], example.dtype, name="examples")
    return tf.function(embed, [batch])
