"""What knows the time axis of a spectrogram, whatever the number of its frames."""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable(package="triptych")
class PadFrames(layers.Layer):
    """Layer: zeros after the last frame, where there are too few.  [B, T, F] -> [B, max(T, n), F]

    For what needs so many of them, as filters that span n frames: a shorter clip is then scored as
    if something average came after it, the mean of each band being 0.

    Args:    frames: n.
    """

    def __init__(self, frames: int, **kwargs):
        super().__init__(**kwargs)
        self.frames = frames

    def call(self, x):
        there = x.shape[1]
        missing = (
            tf.maximum(self.frames - tf.shape(x)[1], 0)
            if there is None
            else max(self.frames - there, 0)
        )
        return tf.pad(x, [[0, 0], [0, missing], [0, 0]])

    def compute_output_shape(self, input_shape):
        batch, there, *rest = input_shape
        return (batch, there and max(there, self.frames), *rest)
