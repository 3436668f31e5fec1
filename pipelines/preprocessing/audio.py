"""A waveform of any length -> its spectrogram or cepstrum, each band normalised."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.preprocessing.log_mel import LogMel
from pipelines.preprocessing.mfcc import MFCC
from pipelines.preprocessing.spectrogram import Spectrogram
from protos.triptych.v1 import manifest_pb2

FRONT_ENDS: dict[str, type[LogMel | MFCC | Spectrogram]] = {
    "log-mel": LogMel,
    "mfcc": MFCC,
    "spectrogram": Spectrogram,
}


class AudioPreprocessing(tf.Module):
    """Front end, each of its bands normalised.  float32 [N] -> float32 [T, F]

    Mean and deviation are constants, taken from the training clips: a clip's own level and
    length, and its neighbours, play no part.

    Args:    front_end: arguments of the front end; features: its name, one of FRONT_ENDS;
             mean, standard_deviation: of each band.
    Raises:  ValueError for an unknown front end, or settings that it can't have.
    """

    domain = "audio"

    def __init__(
        self,
        front_end: Mapping[str, Any],
        features: str = "log-mel",
        mean: Sequence[float] = (),
        standard_deviation: Sequence[float] = (),
    ):
        super().__init__()
        if features not in FRONT_ENDS:
            raise ValueError(f"no features {features!r}; there are: {', '.join(FRONT_ENDS)}")
        self.features = features
        try:
            self.front_end = FRONT_ENDS[features](**front_end)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{features} features cannot be had so: {error}") from error
        bands = self.front_end.bands
        self.mean = tuple(float(x) for x in mean) or (-40.0,) * bands
        self.standard_deviation = tuple(float(x) for x in standard_deviation) or (20.0,) * bands
        self.decoded_spec = tf.TensorSpec([None], tf.float32, name="waveform")
        self.example_spec = tf.TensorSpec([None, bands], tf.float32, name="example")

    def preprocess(self, waveform: tf.Tensor) -> tf.Tensor:
        return (self.front_end(waveform) - tf.constant(self.mean)) / tf.constant(
            self.standard_deviation
        )

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """16-bit PCM WAV bytes at the network's own rate -> float32 [N], channels averaged."""
        audio, rate = tf.audio.decode_wav(encoded)
        wanted = self.front_end.sample_rate_hz
        message = (
            f"this endpoint takes 16-bit WAV at {wanted} Hz only: resample the file, or call"
            " triptych's own server, which takes any rate"
        )
        with tf.control_dependencies([tf.debugging.assert_equal(rate, wanted, message)]):
            return tf.reduce_mean(audio, axis=-1)

    def fit(self, waveforms: Iterable[np.ndarray]) -> "AudioPreprocessing":
        """Take mean and deviation of each band from these decoded clips."""
        front_end = tf.function(self.front_end.__call__, [self.decoded_spec])
        frames = np.concatenate([front_end(tf.constant(w)).numpy() for w in waveforms])
        mean = frames.mean(axis=0, dtype=np.float64)
        deviation = frames.std(axis=0, dtype=np.float64)
        # A band that hardly varies is not blown up to what the others are.
        deviation = np.maximum(deviation, deviation.max() / 200 or 1.0)
        config = {"mean": _rounded(mean), "standard_deviation": _rounded(deviation)}
        return AudioPreprocessing(**{**self.get_config(), **config})

    def spec(self) -> manifest_pb2.InputSpec:
        front_end = manifest_pb2.AudioInput(
            sample_rate_hz=self.front_end.sample_rate_hz, mel_bands=self.front_end.bands
        )
        return manifest_pb2.InputSpec(audio=front_end)

    def get_config(self) -> dict[str, Any]:
        return {
            "front_end": self.front_end.get_config(),
            "features": self.features,
            "mean": list(self.mean),
            "standard_deviation": list(self.standard_deviation),
        }


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
