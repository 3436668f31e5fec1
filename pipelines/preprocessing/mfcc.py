"""Waveform -> mel-frequency cepstral coefficients, as librosa computes them, in graph ops."""

from typing import Any

import numpy as np
import scipy.fft
import tensorflow as tf

from pipelines.preprocessing.log_mel import LogMel


class MFCC(tf.Module):
    """The first coefficients of the cosine transform of a log-mel frame.  float32 [N] -> [T, F]

    librosa.feature.mfcc of the log-mel spectrogram: orthonormal DCT-II, no liftering.

    Args:    coefficients: F, by default as many as mel bands; log_mel: arguments of LogMel.
    Raises:  ValueError if there are more coefficients than mel bands; as LogMel.
    Source:  Davis & Mermelstein 1980, doi 10.1109/TASSP.1980.1163420.
    """

    def __init__(self, sample_rate_hz: int, coefficients: int | None = None, **log_mel: Any):
        super().__init__()
        self.log_mel = LogMel(sample_rate_hz, **log_mel)
        self.coefficients = coefficients or self.log_mel.mel_bands
        if self.coefficients > self.log_mel.mel_bands:
            raise ValueError(
                f"{self.coefficients} coefficients are more than {self.log_mel.mel_bands} mel bands"
            )
        transform = scipy.fft.dct(np.eye(self.log_mel.mel_bands), norm="ortho")
        self.transform = tf.constant(transform[:, : self.coefficients], tf.float32)

    @property
    def sample_rate_hz(self) -> int:
        return self.log_mel.sample_rate_hz

    @property
    def bands(self) -> int:
        return self.coefficients

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        return tf.matmul(self.log_mel(waveform), self.transform)

    def get_config(self) -> dict[str, Any]:
        return {**self.log_mel.get_config(), "coefficients": self.coefficients}
