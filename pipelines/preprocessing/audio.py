"""A waveform of any length -> its normalised log-mel spectrogram."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.preprocessing.log_mel import LogMel
from protos.triptych.v1 import manifest_pb2


class AudioPreprocessing(tf.Module):
    """Log-mel spectrogram, each band normalised.  float32 [N] -> float32 [T, F]

    Mean and deviation are constants, taken from the training clips: a clip's own level and
    length, and its neighbours, play no part.

    Args:    log_mel: arguments of LogMel; mean, standard_deviation: in dB, for each mel band.
    """

    domain = "audio"

    def __init__(
        self,
        log_mel: Mapping[str, Any],
        mean: Sequence[float] = (),
        standard_deviation: Sequence[float] = (),
    ):
        super().__init__()
        self.log_mel = LogMel(**log_mel)
        bands = self.log_mel.mel_bands
        self.mean = tuple(float(x) for x in mean) or (-40.0,) * bands
        self.standard_deviation = tuple(float(x) for x in standard_deviation) or (20.0,) * bands
        self.decoded_spec = tf.TensorSpec([None], tf.float32, name="waveform")
        self.example_spec = tf.TensorSpec([None, bands], tf.float32, name="example")

    def preprocess(self, waveform: tf.Tensor) -> tf.Tensor:
        return (self.log_mel(waveform) - tf.constant(self.mean)) / tf.constant(
            self.standard_deviation
        )

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """16-bit PCM WAV bytes at the network's own rate -> float32 [N], channels averaged."""
        audio, rate = tf.audio.decode_wav(encoded)
        wanted = self.log_mel.sample_rate_hz
        message = (
            f"this endpoint takes 16-bit WAV at {wanted} Hz only: resample the file, or call"
            " triptych's own server, which takes any rate"
        )
        with tf.control_dependencies([tf.debugging.assert_equal(rate, wanted, message)]):
            return tf.reduce_mean(audio, axis=-1)

    def fit(self, waveforms: Iterable[np.ndarray]) -> "AudioPreprocessing":
        """Take mean and deviation of each mel band from these decoded clips."""
        frames = np.concatenate([self.log_mel(tf.constant(w)).numpy() for w in waveforms])
        config = {
            "mean": frames.mean(axis=0, dtype=np.float64).round(3).tolist(),
            "standard_deviation": np.maximum(frames.std(axis=0, dtype=np.float64), 0.1)
            .round(3)
            .tolist(),
        }
        return AudioPreprocessing(**{**self.get_config(), **config})

    def spec(self) -> manifest_pb2.InputSpec:
        front_end = manifest_pb2.AudioInput(
            sample_rate_hz=self.log_mel.sample_rate_hz, mel_bands=self.log_mel.mel_bands
        )
        return manifest_pb2.InputSpec(audio=front_end)

    def get_config(self) -> dict[str, Any]:
        return {
            "log_mel": self.log_mel.get_config(),
            "mean": list(self.mean),
            "standard_deviation": list(self.standard_deviation),
        }
