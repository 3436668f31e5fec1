"""Waveform -> log-mel spectrogram, as librosa computes it, in graph ops."""

from typing import Any

import librosa
import numpy as np
import tensorflow as tf

AMIN = 1e-10  # librosa.power_to_db's: silence is -100 dB


class LogMel(tf.Module):
    """Log-mel spectrogram in decibels.  float32 [N] -> float32 [T, F], T = 1 + N // hop_length

    librosa.power_to_db(librosa.feature.melspectrogram(...), ref=1.0, top_db=None), transposed:
    Hann window, centred frames, zeros beyond the ends, power, librosa's own mel matrix
    (Slaney's scale and norm) as a constant. `top_db` is None as it would hang each value on the
    clip's maximum.

    tf.signal.stft is not used: with win_length < n_fft it places frames elsewhere than librosa.

    Args:    window_length: samples of a frame that the window covers, at most n_fft.
    Source:  McFee 2015, doi 10.25080/Majora-7b98e3ed-003 (librosa).
    """

    def __init__(
        self,
        sample_rate_hz: int,
        mel_bands: int = 40,
        n_fft: int | None = None,
        window_length: int | None = None,
        hop_length: int | None = None,
        lowest_hz: float = 20.0,
        highest_hz: float | None = None,
    ):
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.mel_bands = mel_bands
        self.window_length = window_length or round(0.025 * sample_rate_hz)
        self.hop_length = hop_length or round(0.010 * sample_rate_hz)
        self.n_fft = n_fft or 2 ** int(np.ceil(np.log2(self.window_length)))
        self.lowest_hz = lowest_hz
        self.highest_hz = highest_hz or sample_rate_hz / 2
        if self.window_length > self.n_fft:
            raise ValueError(f"window_length {self.window_length} is over n_fft {self.n_fft}")

        window = librosa.filters.get_window("hann", self.window_length, fftbins=True)
        self.window = tf.constant(librosa.util.pad_center(window, size=self.n_fft), tf.float32)
        mel = librosa.filters.mel(
            sr=sample_rate_hz,
            n_fft=self.n_fft,
            n_mels=mel_bands,
            fmin=self.lowest_hz,
            fmax=self.highest_hz,
        )
        self.mel = tf.constant(mel.T, tf.float32)  # [n_fft / 2 + 1, F]

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        half = self.n_fft // 2
        frames = tf.signal.frame(tf.pad(waveform, [[half, half]]), self.n_fft, self.hop_length)
        # An odd n_fft loses librosa's last sample to the two halves; the frame count is the same.
        spectrum = tf.signal.rfft(frames * self.window, [self.n_fft])
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        mel = tf.maximum(tf.matmul(power, self.mel), AMIN)
        return tf.math.log(mel) * (10.0 / np.log(10.0).astype(np.float32))

    def get_config(self) -> dict[str, Any]:
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "mel_bands": self.mel_bands,
            "n_fft": self.n_fft,
            "window_length": self.window_length,
            "hop_length": self.hop_length,
            "lowest_hz": self.lowest_hz,
            "highest_hz": self.highest_hz,
        }
