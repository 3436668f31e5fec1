"""The endpoint `dense`, for who asks: the scores of all windows of a larger input at once.

images [B, H, W, C], as `predict` takes them but of any size from the network's own
    -> scores [B, h, w, K], boxes [h, w, 4]: the pixels (y0, x0, y1, x1) that each score is of
examples [B, T, F], sounds as `predict` takes them, window_seconds and hop_seconds
    -> scores [B, W, K], times [W, 2]: the seconds (from, to) that each score is of
"""

import keras
import tensorflow as tf

from models.surgery import stride, to_fully_convolutional
from pipelines.preprocessing import AudioPreprocessing, ImagePreprocessing, Preprocessing

Endpoint = tf.types.experimental.PolymorphicFunction


def dense_endpoint(model: keras.Model, preprocessing: Preprocessing) -> Endpoint:
    """The endpoint, with the model's own weights. Raises: ValueError if there can be none."""
    if isinstance(preprocessing, ImagePreprocessing):
        return _over_pictures(model, preprocessing)
    if isinstance(preprocessing, AudioPreprocessing):
        return _over_clips(model, preprocessing)
    raise ValueError("there is a dense endpoint for images and sounds alone")


def _over_pictures(model: keras.Model, preprocessing: ImagePreprocessing) -> Endpoint:
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


def _over_clips(model: keras.Model, preprocessing: AudioPreprocessing) -> Endpoint:
    """Each window by itself: what it scores hangs on nothing that comes before or after it."""
    front_end = preprocessing.front_end
    bands = front_end.bands
    frame_seconds = front_end.get_config()["hop_length"] / front_end.sample_rate_hz

    def dense(
        examples: tf.Tensor, window_seconds: tf.Tensor, hop_seconds: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        batch, frames = tf.unstack(tf.shape(examples)[:2])
        length = tf.clip_by_value(in_frames(window_seconds), 1, frames)
        hop = tf.maximum(in_frames(hop_seconds), 1)
        # The last window ends where the clip does, so that all of it is heard.
        count = (frames - length + hop - 1) // hop + 1
        starts = tf.minimum(tf.range(count) * hop, frames - length)
        places = starts[:, tf.newaxis] + tf.range(length)  # [W, L]
        windows = tf.reshape(tf.gather(examples, places, axis=1), [-1, length, bands])
        logits = tf.cast(model(windows, training=False), tf.float32)
        scores = tf.reshape(tf.nn.softmax(logits), [batch, count, logits.shape[-1]])
        times = tf.cast(tf.stack([starts, starts + length], axis=-1), tf.float32) * frame_seconds
        return {"scores": scores, "times": times}

    def in_frames(seconds: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.round(seconds / frame_seconds), tf.int32)

    specs = [
        tf.TensorSpec([None, None, bands], tf.float32, name="examples"),
        tf.TensorSpec([], tf.float32, name="window_seconds"),
        tf.TensorSpec([], tf.float32, name="hop_seconds"),
    ]
    return tf.function(dense, specs)
