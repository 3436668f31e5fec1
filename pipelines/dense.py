"""The endpoint `dense`, for who asks: the scores of all windows of a larger picture at once.

images [B, H, W, C], as `predict` takes them but of any size from the network's own
    -> scores [B, h, w, K], boxes [h, w, 4]: the pixels (y0, x0, y1, x1) that each score is of
"""

import keras
import tensorflow as tf

from models.surgery import stride, to_fully_convolutional
from pipelines.preprocessing import Preprocessing


def dense_endpoint(
    model: keras.Model, preprocessing: Preprocessing
) -> tf.types.experimental.PolymorphicFunction:
    """The endpoint, with the model's own weights. Raises: ValueError if there can be none."""
    if preprocessing.domain != "image":
        raise ValueError("there is a dense endpoint for images alone")
    *window, channels = input_shape = tuple(preprocessing.example_spec.shape)
    network = to_fully_convolutional(model, input_shape)
    steps = stride(network, input_shape)

    def dense(images: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.shape(images)[1:3]
        too_small = f"images must be at least {window[0]} high and {window[1]} wide"
        with tf.control_dependencies([tf.debugging.assert_greater_equal(size, window, too_small)]):
            logits = tf.cast(network(tf.identity(images), training=False), tf.float32)
        return {"scores": tf.nn.softmax(logits), "boxes": boxes(tf.shape(logits)[1:3], size)}

    def boxes(positions: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        rows, columns = tf.range(positions[0]) * steps[0], tf.range(positions[1]) * steps[1]
        starts = tf.stack(tf.meshgrid(rows, columns, indexing="ij"), axis=-1)  # [h, w, 2]
        # Where padding lets a window hang over the edge, its box ends there.
        return tf.concat([starts, tf.minimum(starts + window, size)], axis=-1)

    images = tf.TensorSpec([None, None, None, channels], tf.float32, name="images")
    return tf.function(dense, [images])
