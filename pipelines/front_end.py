"""The front end over a batch of clips: a call of the graph costs as much as a short clip."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from pipelines.preprocessing import AudioPreprocessing


def of_many(inputs: AudioPreprocessing) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """`inputs.preprocess` of each waveform.  float32 [N] each -> float32 [T, F] each"""
    frames = tf.RaggedTensorSpec(inputs.example_spec.shape, tf.float32, ragged_rank=0)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int64)]
    )
    def preprocess(samples: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        clips = tf.RaggedTensor.from_row_lengths(samples, lengths)
        each = tf.map_fn(inputs.preprocess, clips, fn_output_signature=frames)
        return each.flat_values, each.row_lengths()

    def over(waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
        values, counts = preprocess(np.concatenate(waveforms), lengths)
        return np.split(values.numpy(), np.cumsum(counts.numpy())[:-1])

    return over
